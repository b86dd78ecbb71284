"""The alert rules, judged by Prometheus's own tools; and what the runbooks say of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.metrics import Metrics
from service.rules import RULES as DETECTION_RULES
from tests.broker import ROOT
from tests.deploy.prometheus import promtool

FOLDER = ROOT / "deploy" / "prometheus"
CASES = FOLDER / "rules_test.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
FILES = ("rules.yaml", "canary.yaml")


def rules_of(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / file).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


RULES = [rule for file in FILES for rule in rules_of(file)]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}


@pytest.mark.parametrize("arguments", [("rules", *FILES), ("config", "prometheus.yml")], ids=["rules", "config"])
def test_promtool_finds_nothing_wrong(arguments: tuple[str, ...]) -> None:
    checked = promtool("check", arguments[0], *(FOLDER / name for name in arguments[1:]))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert b"SUCCESS" in checked.stdout + checked.stderr


@pytest.mark.long
def test_every_case_of_every_alert_comes_out_as_written() -> None:
    tested = promtool("test", "rules", CASES)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def cases() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CASES.read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("alert", ALERTS)
@pytest.mark.parametrize("kind", ["fires", "is quiet"])
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_must_not(alert: str, kind: str) -> None:
    named = [case for case in cases()["tests"] if case["name"].startswith(f"{alert} {kind}")]
    assert named
    for case in named:
        (expected,) = case["promql_expr_test"]
        assert f'alertname="{alert}"' in expected["expr"]
        assert bool(expected["exp_samples"]) == (kind == "fires")


@pytest.mark.long
@pytest.mark.parametrize("alert", ALERTS)
@pytest.mark.parametrize("broken", ["vector(0) > 0", "vector(1)"], ids=["never", "always"])
def test_the_cases_notice_an_alert_that_never_or_always_fires(alert: str, broken: str, tmp_path: Path) -> None:
    for file in FILES:
        changed = yaml.safe_load((FOLDER / file).read_text(encoding="utf-8"))
        for group in changed["groups"]:
            for rule in group["rules"]:
                if rule.get("alert") == alert:
                    rule["expr"] = broken
        (tmp_path / file).write_text(yaml.safe_dump(changed), encoding="utf-8")
    own = cases()
    own["tests"] = [case for case in own["tests"] if case["name"].startswith(f"{alert} ")]
    (tmp_path / CASES.name).write_text(yaml.safe_dump(own), encoding="utf-8")
    assert promtool("test", "rules", tmp_path / CASES.name).returncode != 0


def test_rules_ask_only_for_metrics_that_exist() -> None:
    families = list(Metrics(DETECTION_RULES).registry.collect())
    known = {f"{family.name}{'_total' if family.type == 'counter' else ''}" for family in families}
    known |= {f"{family.name}_bucket" for family in families if family.type == "histogram"}
    asked = {name for rule in RULES for name in re.findall(r"(?<![:\w])(?:tokentrail|process)_\w+", rule["expr"])}
    assert len(asked) > 10
    assert asked - known == set()


def test_recorded_series_that_rules_ask_for_are_recorded() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    asked = {name for rule in RULES for name in re.findall(r"\bjob(?:_\w+)?:[\w:]+", rule["expr"])}
    assert asked
    assert asked <= recorded


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_what_happened_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{alert.lower()}"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    sections = re.split(r"^## ", RUNBOOKS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    written = {section.partition("\n")[0]: section for section in sections}
    assert {name for name in written if name.startswith("Tokentrail")} == set(ALERTS)
    for alert in ALERTS:
        for part in ("**Means:**", "**Look at:**", "**Do:**"):
            assert part in written[alert], f"{alert} lacks {part}"
