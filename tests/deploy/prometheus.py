"""Debian's own prometheus and promtool for tests: what they say of our rules, and a server with our metrics."""

import json
import math
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from tests.broker import ROOT, free_ports, poll_until
from tests.conftest import cannot_run

RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"


def program(name: str) -> str:
    """Where prometheus or promtool is; in CI a missing one is a failure, elsewhere a skip."""
    path = shutil.which(name)
    if path is None:
        cannot_run(f"no {name}: apt-get install prometheus")
    return path


def promtool(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [program("promtool"), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=110, check=False)


@dataclass(frozen=True)
class Series:
    """What a range query gave of one series; `values` has the finite ones."""

    labels: Mapping[str, str]
    points: int
    values: list[float]


class Prometheus:
    """A server that scrapes one address of this machine every second, as job "tokentrail", with our rules."""

    def __init__(self, folder: Path, target: str) -> None:
        (port,) = free_ports(1)
        self._address = f"127.0.0.1:{port}"
        self._folder = folder
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "tokentrail", "static_configs": [{"targets": [target]}]}],
        }
        self._config = folder / "prometheus.yml"
        self._config.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML

    def __enter__(self) -> Self:
        command = [
            program("prometheus"),
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._address}",
            "--log.level=warn",
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        poll_until(self._is_ready, f"a Prometheus that is ready, whose log is in {self._folder}")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, "prometheus ended"
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of /api/v1; an error that Prometheus reports fails the test."""
        asked = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")

    def query_range(self, expression: str, start: float, end: float) -> list[Series]:
        given = self.get("query_range", query=expression, start=f"{start}", end=f"{end}", step="1")
        found = []
        for each in given["result"]:
            values = [float(value) for _, value in each["values"]]
            found.append(Series(each["metric"], len(values), [v for v in values if math.isfinite(v)]))
        return found

    def firing(self) -> set[str]:
        alerts = self.get("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
