"""What was measured, kept with the machine it was measured on: one JSON and one Markdown file a run."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, Final

import confluent_kafka

from tests.bench.stage import CACHE
from tests.bench.table import Row, Scale
from tests.broker import KAFKA_VERSION, ROOT

RESULTS: Final = ROOT / "tests" / "bench" / "results"


def save(name: str, rows: Sequence[Row], table: str, scale: Scale, arguments: Sequence[str]) -> None:
    """A quick run's go where git does not look: they say nothing about speed."""
    folder = CACHE / "results" if scale.quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    name = next(each for each in _names(name) if not (folder / f"{each}.json").exists())
    about = {"command": ["python", "-m", "tests.bench", *arguments], "scale": asdict(scale), **machine()}
    content = about | {"rows": [asdict(row) for row in rows]}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(f"{_heading(about)}\n\n{table}\n", encoding="utf-8")


def load(file: Path) -> list[Row]:
    content = json.loads(file.read_text("utf-8"))
    return [Row(**row | {"values": tuple(row["values"])}) for row in content["rows"]]


def _names(name: str) -> Iterator[str]:
    """A day's second run stands beside its first."""
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def machine() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _told("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        "java": (_told("java", "--version") or "").partition("\n")[0],
        "librdkafka": confluent_kafka.libversion()[0],
        "packages": {name: version(name) for name in ("confluent-kafka", "msgspec", "isal", "fastavro")},
        "peers": _peers(),
    }


def _peers() -> dict[str, str]:
    """The versions that the locks name."""
    wanted = ("aiokafka", "faust-streaming", "orjson", "quixstreams", "sentry-arroyo")
    lines = "".join((ROOT / "requirements" / f"{lock}.txt").read_text("utf-8") for lock in ("peers", "peers-quix"))
    pins = (line.split()[0].split("==") for line in lines.splitlines() if "==" in line and line[0].isalpha())
    return {pin[0]: pin[1] for pin in pins if pin[0] in wanted}


def _heading(about: dict[str, Any]) -> str:
    return (
        f"{about['date']}, commit {about['commit']}: {about['cores']} cores ({about['cpu']}), {about['memory']}, "
        f"Linux {about['kernel']}, Kafka {about['kafka']}, librdkafka {about['librdkafka']}, "
        f"Python {about['python']}. `{' '.join(about['command'])}`"
    )


def _field(file: str, name: str) -> str:
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")


def _told(program: str, *arguments: str) -> str | None:
    path = shutil.which(program)
    if path is None:
        return None
    done = subprocess.run([path, *arguments], capture_output=True, encoding="utf-8", cwd=ROOT, check=False)
    return done.stdout.strip() or None
