"""The chart for tests: the real helm, what it renders, and the parts of the chart that are made from other files.

`python -m tests.deploy.chart` writes those parts anew.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

from service.settings_values import REFUSED_PROPERTIES
from tests.broker import ROOT

HELM_VERSION: Final = "v3.22.0"
CACHE: Final = ROOT / ".cache" / "helm"
HELM: Final = CACHE / HELM_VERSION / "helm"
DEPLOY: Final = ROOT / "deploy"
CHART: Final = DEPLOY / "chart"
README: Final = CHART / "README.md"
EXAMPLES: Final = {path.stem: path for path in sorted((DEPLOY / "examples").glob("*.yaml"))}
KUBERNETES: Final = "1.33"  # what helm takes the cluster for

Object = dict[str, Any]  # a Kubernetes object, or a value set
Where = tuple[str, ...]  # ("kafka", "groupId")

# --- helm --------------------------------------------------------------------------------------


def missing() -> str | None:
    """What is lacking to run helm, and how to get it; None when it can run."""
    if HELM.is_file() or _go():
        return None
    return f"no helm: install Go 1.21 or newer to build it, or put helm {HELM_VERSION} at {HELM.relative_to(ROOT)}"


def fetch_helm() -> Path:
    """Build helm once, which takes minutes; test runs that meet here wait for each other."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not HELM.is_file():
            with TemporaryDirectory(prefix="building-", dir=CACHE) as folder:
                environment = {**os.environ, "GOBIN": folder, "GOFLAGS": "-buildvcs=false"}
                what = f"helm.sh/helm/v3/cmd/helm@{HELM_VERSION}"
                subprocess.run(
                    [_go() or "go", "install", "-ldflags=-s -w", what], env=environment, check=True, timeout=900
                )
                HELM.parent.mkdir(exist_ok=True)
                Path(folder, "helm").rename(HELM)
    return HELM


def _go() -> str | None:
    """A Go that is new enough to fetch the version that helm asks for."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return None
    version = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    return go if tuple(map(int, re.findall(r"\d+", version)[:2])) >= (1, 21) else None


def helm(*arguments: str | Path, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run to the end, whatever comes of it; `values` go in as helm's last file of values."""
    files = () if values is None else ("--values", "-")
    return subprocess.run(
        [HELM, *arguments, *files],
        input=json.dumps(values or {}),  # JSON is YAML
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def template(values: Mapping[str, Any], *arguments: str, release: str = "tokentrail") -> str:
    """The rendered text. Raises ValueError with helm's complaint."""
    return _template(json.dumps(values), arguments, release)


@cache
def _template(values: str, arguments: tuple[str, ...], release: str) -> str:
    where = ("--namespace", "security", "--kube-version", KUBERNETES)
    done = helm("template", release, CHART, *where, *arguments, values=json.loads(values))
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


def rendered(values: Mapping[str, Any], release: str = "tokentrail") -> list[Object]:
    """The objects, those of `helm test` too."""
    return [found for found in yaml.safe_load_all(template(values, release=release)) if found]


def one(objects: Sequence[Object], kind: str) -> Object:
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def load(path: Path) -> Object:
    values: Object = yaml.safe_load(path.read_text())
    return values


# --- values ------------------------------------------------------------------------------------


def leaves(values: Mapping[str, Any], above: Where = ()) -> Iterator[tuple[Where, Any]]:
    """Path and value of all that is no table, or an empty one."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


def defaults() -> dict[Where, Any]:
    return dict(leaves(load(CHART / "values.yaml")))


def schema_of(path: Where) -> Object:
    """What values.schema.json says of a value."""
    schema: Object = json.loads((CHART / "values.schema.json").read_text())
    here = schema
    for name in path:
        here = here["properties"][name]
        if "$ref" in here:
            here = schema["definitions"][here["$ref"].rpartition("/")[2]]
    return here


def changed(values: Mapping[str, Any], path: Where, value: object) -> Object:
    """A copy in which the value at `path` is another one."""
    copy: Object = json.loads(json.dumps(values))
    here = copy
    for name in path[:-1]:
        here = here.setdefault(name, {})
    here[path[-1]] = value
    return copy


# --- parts made from other files -----------------------------------------------------------------


MARKS: Final = ("<!-- values: made by `python -m tests.deploy.chart` -->\n\n", "\n\n<!-- end -->")


def made_files() -> dict[Path, str]:
    """Path -> what must stand there. The rules are copies, since Helm reads no file outside of the chart."""
    head, _, rest = README.read_text().partition(MARKS[0])
    _, _, tail = rest.partition(MARKS[1])
    made = {
        README: f"{head}{MARKS[0]}{values_table()}{MARKS[1]}{tail}",
        CHART / "files" / "refused-properties.txt": "".join(f"{name}\n" for name in REFUSED_PROPERTIES),
    }
    for name in ("rules.yaml", "canary.yaml"):
        made[CHART / "files" / name] = (DEPLOY / "prometheus" / name).read_text()
    return made


def values_table() -> str:
    """A row for each value of values.yaml; the comment above it is its meaning."""
    text = (CHART / "values.yaml").read_text()
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    node = yaml.compose(text)
    assert isinstance(node, yaml.MappingNode)
    for path, line, value in _places(node, ()):
        cells = (".".join(path), json.dumps(value), _comment_above(text.splitlines(), line))
        name, default, meaning = (cell.replace("|", "\\|") for cell in cells)
        rows.append(f"| `{name}` | `{default}` | {meaning} |")
    return "\n".join(rows)


def _places(node: yaml.MappingNode, above: Where) -> Iterator[tuple[Where, int, Any]]:
    """Path, line and value of each leaf."""
    for key, value in node.value:
        path = (*above, key.value)
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _places(value, path)
        else:
            yield path, key.start_mark.line, yaml.safe_load(yaml.serialize(value))


def _comment_above(lines: Sequence[str], line: int) -> str:
    above = takewhile(lambda text: text.lstrip().startswith("#"), reversed(lines[:line]))
    return " ".join(text.lstrip(" #") for text in reversed(list(above)))


if __name__ == "__main__":
    for path, text in made_files().items():
        path.write_text(text)
