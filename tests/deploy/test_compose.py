"""The compose stack, which needs Docker to run: what it says, held against the program and the files it names."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cli import tokentrail as program
from service.settings import Settings, load, require_bootstrap
from tests.broker import KAFKA_VERSION, ROOT
from tests.conftest import cannot_run
from tests.deploy.prometheus import promtool

FOLDER = ROOT / "deploy" / "compose"
# What `docker compose config` itself reads and judges files with.
COMPOSE_GO = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"

FILE: Mapping[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: Mapping[str, Mapping[str, Any]] = FILE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
MOUNTS = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
# The official image writes its configuration, made from the environment, into its own folders.
WRITABLE = {"kafka", "topics"}

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
each_of_ours = pytest.mark.parametrize("service", OURS.values(), ids=OURS)


@each_of_ours
def test_every_variable_is_a_setting(service: Mapping[str, Any]) -> None:
    """The program takes the environment as it stands: it would refuse a name that it does not know."""
    assert require_bootstrap(load({}, environ=service["environment"], cwd=ROOT)) == "kafka:19092"


@each_of_ours
def test_every_command_is_one_of_the_program(service: Mapping[str, Any]) -> None:
    """The program's own parser takes command and flags."""
    name, *arguments = service["command"]
    command = program.get_command(program.make_context("tokentrail", [name]), name)
    assert command is not None
    command.make_context(name, arguments)


@pytest.mark.parametrize("mount", MOUNTS)
def test_every_mount_is_a_file_of_this_repository_and_read_only(mount: str) -> None:
    """Docker would make a folder, owned by root, of a source that is missing."""
    source, _, mode = mount.split(":")
    assert (FOLDER / source).resolve().is_relative_to(ROOT)
    assert (FOLDER / source).exists()
    assert mode == "ro"


def test_it_is_built_from_the_dockerfile() -> None:
    """Ours are built here, whatever a registry may hold under the same name."""
    assert OURS.keys() == {"tokentrail", "feeder"}
    assert all((FOLDER / service["build"] / "Dockerfile").is_file() for service in OURS.values())


@every_service
def test_every_image_of_others_is_pinned(service: Mapping[str, Any]) -> None:
    """To a whole version: a tag such as 4.1 moves."""
    assert "build" in service or re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])


def test_kafka_is_the_one_of_the_tests() -> None:
    """What the tests prove holds for the stack."""
    assert {SERVICES[name]["image"] for name in ("kafka", "topics")} == {f"apache/kafka:{KAFKA_VERSION}"}


@every_service
def test_every_port_is_open_to_this_machine_only(service: Mapping[str, Any]) -> None:
    """Nothing in the stack asks for a password."""
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_rights_it_does_not_need(name: str) -> None:
    """No capability, none to be gained, and a read-only file system where the image allows one."""
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only", False) is (name not in WRITABLE)


def test_the_topics_are_those_of_the_settings() -> None:
    """Those that the program reads and writes by default, and no other."""
    made = re.search(r"for topic in (.+); do", SERVICES["topics"]["command"][0])
    assert made is not None
    assert set(made[1].split()) == set(Settings().topics.model_dump(exclude_none=True).values())


def test_health_and_metrics_are_asked_where_they_are() -> None:
    """Health check, published port and Prometheus agree with the program's default port."""
    port = Settings().http.port
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert f"http://127.0.0.1:{port}/readyz" in SERVICES["tokentrail"]["healthcheck"]["test"][-1]
    assert SERVICES["tokentrail"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert scraped[0]["static_configs"][0]["targets"] == [f"tokentrail:{port}"]


def test_grafana_finds_what_it_is_given() -> None:
    """The home page and the provider name the folder that the dashboard is mounted in."""
    grafana = SERVICES["grafana"]
    mounted = {mount.split(":")[1] for mount in grafana["volumes"]}
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    provided = yaml.safe_load((FOLDER / "grafana" / "dashboards.yaml").read_text(encoding="utf-8"))["providers"]
    assert home in mounted
    assert provided[0]["options"]["path"] == str(Path(home).parent)


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """Prometheus' own checker reads both files, laid out as the stack mounts them."""
    for mount in SERVICES["prometheus"]["volumes"]:
        source, target, _ = mount.split(":")
        shutil.copyfile(FOLDER / source, tmp_path / Path(target).name)
    checked = promtool("check", "config", tmp_path / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.long
def test_compose_takes_the_file() -> None:
    """The library that Docker's own `compose` reads files with has no complaint, and sees every service."""
    go = shutil.which("go")
    if go is None:
        cannot_run("no go to build Docker's reader of compose files with: apt-get install golang")
    command = [go, "run", COMPOSE_GO, str(FOLDER / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert yaml.safe_load(done.stdout)["services"].keys() == SERVICES.keys()
