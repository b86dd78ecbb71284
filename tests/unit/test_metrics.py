"""The metrics: their names are a contract, their labels are bounded, their numbers are those of the batches."""

import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.batch import Batch
from service.canary import MarkResult
from service.detect import Detector
from service.envelopes import REASONS, Envelope, IgnoredKind
from service.finding import SEVERITIES
from service.metrics import Metrics
from service.rules import RULES
from service.rules.rule import Verdict
from tests.deploy.prometheus import promtool
from tests.unit.strategies import asking, console_exchange, issuance

# Name, type and labels, as the dashboards and alerts of users hold on to them.
CONTRACT = {
    "messages_total": ("counter", set()),
    "message_bytes_total": ("counter", set()),
    "records_total": ("counter", {"envelope"}),
    "ignored_records_total": ("counter", {"kind"}),
    "rule_verdicts_total": ("counter", {"rule", "verdict"}),
    "findings_total": ("counter", {"rule", "severity", "outcome"}),
    "dead_letters_total": ("counter", {"reason"}),
    "consumer_lag": ("gauge", {"topic", "partition"}),
    "assigned_partitions": ("gauge", set()),
    "rebalances_total": ("counter", {"kind"}),
    "commits_total": ("counter", {"result"}),
    "batch_messages": ("histogram", set()),
    "batch_seconds": ("histogram", set()),
    "detection_latency_seconds": ("histogram", set()),
    "event_age_seconds": ("histogram", set()),
    "producer_replacements_total": ("counter", set()),
    "paused_partitions": ("gauge", set()),
    "near_misses_total": ("counter", set()),
    "screened_messages_total": ("counter", set()),
    "ready": ("gauge", set()),
    "staged_findings_total": ("counter", {"rule", "severity", "outcome"}),
    "canaries_total": ("counter", {"result"}),
    "canary_last_success_timestamp_seconds": ("gauge", set()),
    "account_newest_event_timestamp_seconds": ("gauge", {"account"}),
    "build_info": ("gauge", {"version"}),
}

RULE_IDS = [rule.id for rule in RULES]
VERDICTS = get_args(Verdict)
ACCOUNTS = ("111122223333", "444455556666")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(RULES, ACCOUNTS)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"tokentrail_{name}", labels)


def full_batch() -> Batch:
    """A batch in which everything there is to count happened, with every value that a label may have."""
    detector = Detector(RULES)
    events = [issuance(), issuance(errorCode="AccessDenied"), asking(durationSeconds=129_600), console_exchange()]
    batch = Batch(polled_at=0.0, found_at=0.0, messages=7, bytes=700, near_misses=2)
    batch.records.update(dict.fromkeys(get_args(Envelope), 10))
    batch.ignored.update(dict.fromkeys(get_args(IgnoredKind), 3))
    batch.rejected.update(dict.fromkeys(REASONS, 2))
    for event in events:
        detection = detector.detect_record(event)
        batch.verdicts.update(
            (rule, verdict) for rule, verdict in detection.verdicts.items() if verdict != "no_match"
        )
        batch.findings.extend(detection.findings)
    return batch


def exercise(metrics: Metrics) -> None:
    metrics.committed(full_batch(), 0.25)
    metrics.committed(with_findings(stage="staged"), 0.25)
    metrics.failed(full_batch())
    for kind in ("assigned", "revoked", "lost"):
        metrics.rebalanced(kind, 3, 1)
    metrics.replacements.inc()
    metrics.committed(with_event_of(ACCOUNTS[0], 1), 0.25)
    metrics.lags({("events", number): 10 * number for number in range(3)})


def test_names_types_and_labels_are_those_of_the_contract(metrics: Metrics) -> None:
    exercise(metrics)
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        if family.name.startswith("process_"):
            continue
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = family.name.removeprefix("tokentrail_") + ("_total" if family.type == "counter" else "")
        found[name] = (family.type, labels)
        assert family.name.startswith("tokentrail_")
        assert family.documentation.endswith(".")
    assert found == CONTRACT


def test_every_value_of_a_label_is_one_of_a_known_few(metrics: Metrics) -> None:
    """Save those of topics, which an operator chooses; else an attacker could make series without end."""
    exercise(metrics)
    known = {
        "envelope": set(get_args(Envelope)),
        "kind": {*get_args(IgnoredKind), "assigned", "revoked", "lost"},
        "reason": set(REASONS),
        "result": {"success", "failure", *get_args(MarkResult)},
        "rule": set(RULE_IDS),
        "severity": set(SEVERITIES),
        "outcome": {"success", "failure"},
        "verdict": set(VERDICTS),
        "account": set(ACCOUNTS),
    }
    found: dict[str, set[str]] = {name: set() for name in known}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            for name in sample.labels.keys() & known.keys():
                found[name].add(sample.labels[name])
    assert all(found.values())
    assert [name for name, values in found.items() if not values <= known[name]] == []


def test_counters_add_up_over_batches(metrics: Metrics) -> None:
    batch = full_batch()
    for _ in range(3):
        metrics.committed(batch, 0.25)
    assert value(metrics, "messages_total") == 21
    assert value(metrics, "message_bytes_total") == 2_100
    assert value(metrics, "near_misses_total") == 6
    assert value(metrics, "records_total", envelope="sns") == 30
    assert value(metrics, "ignored_records_total", kind="digest") == 9
    assert value(metrics, "dead_letters_total", reason="gzip") == 6
    assert value(metrics, "commits_total", result="success") == 3
    assert value(metrics, "commits_total", result="failure") == 0
    findings = Counter((finding.rule_id, finding.severity, finding.outcome) for finding in batch.findings)
    assert len(findings) > 3
    for (rule, severity, outcome), count in findings.items():
        labels = {"rule": rule, "severity": severity, "outcome": outcome}
        assert value(metrics, "findings_total", **labels) == 3 * count
    records = 3 * sum(batch.records.values())
    for rule_id in RULE_IDS:
        answers = [value(metrics, "rule_verdicts_total", rule=rule_id, verdict=verdict) for verdict in VERDICTS]
        assert sum(answer or 0 for answer in answers) == records


def test_histograms_take_one_value_a_batch_or_a_finding(metrics: Metrics) -> None:
    batch = full_batch()
    batch.findings = batch.findings[:1]
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    batch.findings += Detector(RULES).detect_record(issuance(eventTime=an_hour_ago)).findings
    batch.findings += Detector(RULES).detect_record(issuance(eventTime="redacted")).findings
    metrics.committed(batch, 0.25)
    assert (value(metrics, "batch_messages_count"), value(metrics, "batch_messages_sum")) == (1, 7)
    assert (value(metrics, "batch_seconds_count"), value(metrics, "batch_seconds_sum")) == (1, 0.25)
    assert value(metrics, "detection_latency_seconds_count") == 3
    assert value(metrics, "detection_latency_seconds_sum") == 0.75
    assert value(metrics, "event_age_seconds_count") == 2
    assert value(metrics, "event_age_seconds_bucket", le="900.0") == 0
    assert value(metrics, "event_age_seconds_bucket", le="3600.0") in (0, 1)
    assert value(metrics, "event_age_seconds_bucket", le="14400.0") == 1


def test_a_failed_batch_counts_as_a_failed_commit_and_nothing_else(metrics: Metrics) -> None:
    before = metrics.text()
    metrics.failed(full_batch())
    lines = set(metrics.text().splitlines()) - set(before.splitlines())
    changed = {line for line in lines if not line.startswith(b"process_")}
    assert changed == {b'tokentrail_commits_total{result="failure"} 1.0'}


def test_series_that_alerts_look_at_are_there_from_the_start(metrics: Metrics) -> None:
    """`rate` sees no first increment of a series that did not exist."""
    for rule_id in RULE_IDS:
        for verdict in VERDICTS:
            assert value(metrics, "rule_verdicts_total", rule=rule_id, verdict=verdict) == 0
        for severity in SEVERITIES:
            labels = {"rule": rule_id, "severity": severity, "outcome": "failure"}
            assert value(metrics, "findings_total", **labels) == 0
    for reason in REASONS:
        assert value(metrics, "dead_letters_total", reason=reason) == 0
    for account in ACCOUNTS:
        assert value(metrics, "account_newest_event_timestamp_seconds", account=account) == 0
    for kind in ("assigned", "revoked", "lost"):
        assert value(metrics, "rebalances_total", kind=kind) == 0
    for result in ("success", "failure"):
        assert value(metrics, "commits_total", result=result) == 0


def test_lags_of_partitions_that_are_no_longer_ours_go(metrics: Metrics) -> None:
    metrics.lags({("events", 0): 5, ("events", 1): 7})
    metrics.lags({("events", 1): 0, ("events", 2): 1})
    assert [value(metrics, "consumer_lag", topic="events", partition=str(n)) for n in range(3)] == [None, 0, 1]
    metrics.lags({})
    assert b"consumer_lag{" not in metrics.text()


def test_one_scrape_takes_no_lag_away_from_another(metrics: Metrics) -> None:
    """Two Prometheus servers scrape at the same time; a gap would reset an alert's waiting time."""
    lags = {("events", number): number for number in range(50)}
    metrics.lags(lags)
    done = threading.Event()

    def scrape() -> None:
        while not done.is_set():
            metrics.lags(lags)

    other = threading.Thread(target=scrape)
    other.start()
    try:
        assert all(metrics.text().count(b"tokentrail_consumer_lag{") == 50 for _ in range(200))
    finally:
        done.set()
        other.join()


def test_partitions_are_those_of_the_last_rebalance(metrics: Metrics) -> None:
    metrics.rebalanced("assigned", 6, 0)
    metrics.partitions_paused([("events", 4)])
    assert (value(metrics, "assigned_partitions"), value(metrics, "paused_partitions")) == (6, 1)
    metrics.rebalanced("revoked", 2, 0)
    assert (value(metrics, "assigned_partitions"), value(metrics, "paused_partitions")) == (2, 0)
    assert value(metrics, "rebalances_total", kind="revoked") == 1


def with_findings(**changes: Any) -> Batch:
    batch = Batch(polled_at=0)
    batch.findings = [msgspec.structs.replace(finding, **changes) for finding in full_batch().findings]
    return batch


@pytest.mark.parametrize("changes", [{"stage": "staged"}, {"canary": True}, {"suppressed_by": "portal"}])
def test_findings_that_nobody_is_to_act_on_are_not_among_those_that_alerts_count(
    metrics: Metrics, changes: dict[str, object]
) -> None:
    batch = with_findings(**changes)
    metrics.committed(batch, 0.25)
    counted = [line for line in metrics.text().splitlines() if line.startswith(b"tokentrail_findings_total{")]
    assert counted
    assert all(line.endswith(b" 0.0") for line in counted)
    staged = [
        line for line in metrics.text().splitlines() if line.startswith(b"tokentrail_staged_findings_total{")
    ]
    assert sum(float(line.split()[-1]) for line in staged) == ("stage" in changes) * len(batch.findings)
    canary = value(metrics, "canary_last_success_timestamp_seconds") or 0
    assert (canary > 0) is ("canary" in changes)


def with_event_of(account: str, seconds: float) -> Batch:
    batch = Batch(polled_at=0)
    batch.accounts.newest[account] = seconds
    return batch


def test_the_newest_event_of_an_account_never_goes_back_and_never_lies_in_the_future(metrics: Metrics) -> None:
    now = time.time()
    seen = []
    for seconds in (now - 100, now - 500, now + 86_400):
        metrics.committed(with_event_of(ACCOUNTS[0], seconds), 0.1)
        seen.append(value(metrics, "account_newest_event_timestamp_seconds", account=ACCOUNTS[0]) or 0)
    assert seen[:2] == [now - 100, now - 100]
    assert now <= seen[2] <= time.time()
    assert value(metrics, "account_newest_event_timestamp_seconds", account=ACCOUNTS[1]) == 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="process_* metrics come from Linux's /proc")
def test_memory_and_the_time_of_the_start_are_told(metrics: Metrics) -> None:
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    assert families["process_resident_memory_bytes"].samples[0].value > 2**20
    assert families["process_start_time_seconds"].samples[0].value <= time.time()


def test_prometheus_own_linter_has_nothing_to_say(metrics: Metrics) -> None:
    exercise(metrics)
    linted = promtool("check", "metrics", stdin=metrics.text())
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, b"")
