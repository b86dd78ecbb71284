"""AWS's own model of IAM's API, as botocore brings it: every operation, what it takes and what it insists on."""

import gzip
import json
from importlib import import_module
from importlib.resources import files
from typing import Any

_MODEL: dict[str, Any] = json.loads(
    gzip.decompress((files("botocore") / "data/iam/2010-05-08/service-2.json.gz").read_bytes())
)
OPERATIONS: list[str] = list(_MODEL["operations"])


def parameters(operation: str) -> tuple[set[str], set[str]]:
    """All of them, and the required ones."""
    shape = _MODEL["shapes"][_MODEL["operations"][operation]["input"]["shape"]]
    return set(shape["members"]), set(shape.get("required", ()))


def on_the_command_line(name: str) -> str:
    """How the AWS CLI spells an operation or a parameter."""
    spelt: str = import_module("botocore").xform_name(name, "-")
    return spelt
