"""Every metric, in one class on a registry of its own. What was found counts after its commit only."""

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from typing import Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from service.batch import Batch, Place
from service.canary import MarkResult
from service.envelopes import REASONS
from service.event import Outcome
from service.finding import SEVERITIES
from service.rules.rule import Rule, Verdict

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_AGES: Final = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)
_SIZES: Final = (1, 10, 100, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000)


# A second series for each counter, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the one untyped function of the library


class Metrics:
    """Updated once a batch, by the pipeline's thread; read by the probes' threads.

    On Linux the registry has process_* too: CPU, memory, files, time of the start.
    """

    def __init__(self, rules: Sequence[Rule], expected_accounts: Collection[str] = ()) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._rule_ids = [rule.id for rule in rules]
        self._newest = dict.fromkeys(expected_accounts, 0.0)
        self._lagging: set[Place] = set()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tokentrail_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"tokentrail_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"tokentrail_{name}", text, buckets=buckets, registry=registry)

        self.messages = counter("messages_total", "Messages read and committed.")
        self.message_bytes = counter("message_bytes_total", "Bytes of the values of committed messages.")
        self.records = counter("records_total", "CloudTrail records, by the envelope they came in.", "envelope")
        self.ignored = counter("ignored_records_total", "Parts that hold nothing to detect.", "kind")
        self.verdicts = counter("rule_verdicts_total", "Answers of rules to records.", "rule", "verdict")
        self.findings = counter("findings_total", "Findings published.", "rule", "severity", "outcome")
        self.staged_findings = counter(
            "staged_findings_total", "Findings of rules on trial.", "rule", "severity", "outcome"
        )
        self.canaries = counter("canaries_total", "Marks of canaries, by whether they were believed.", "result")
        self.dead_letters = counter("dead_letters_total", "Dead letters published.", "reason")
        self.near_misses = counter("near_misses_total", "Watched event names in another letter case.")
        self.screened = counter("screened_messages_total", "Messages skipped unread by detect.screen.")
        self.commits = counter("commits_total", "Commits of a batch's offsets.", "result")
        self.rebalances = counter("rebalances_total", "Partitions assigned, revoked or lost.", "kind")
        self.replacements = counter("producer_replacements_total", "Producers replaced after a failure.")
        self.ready = gauge("ready", "Whether /readyz says 200: 1 or 0.")
        self.lag = gauge("consumer_lag", "Messages not committed yet.", "topic", "partition")
        self.assigned = gauge("assigned_partitions", "Partitions this process reads.")
        self.paused = gauge("paused_partitions", "Partitions paused because too much of them is unreadable.")
        self.batch_messages = histogram("batch_messages", "Messages committed together.", _SIZES)
        self.batch_seconds = histogram(
            "batch_seconds", "Seconds from the first poll to the commit of a batch.", _SECONDS
        )
        self.latency = histogram(
            "detection_latency_seconds", "Seconds from the poll to the commit of a finding.", _SECONDS
        )
        self.age = histogram("event_age_seconds", "Seconds from the event to its finding's commit.", _AGES)
        self.newest = gauge(
            "account_newest_event_timestamp_seconds",
            "Time of the newest event of each expected account, in seconds since 1970; 0 before the first.",
            "account",
        )
        self.canary_success = gauge(
            "canary_last_success_timestamp_seconds",
            "Time of the last commit of a canary's finding, in seconds since 1970; 0 before the first.",
        )
        self.build = gauge("build_info", "Always 1; the label has the version.", "version")
        self.build.labels(version("tokentrail")).set(1)
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        """Series that alerts look at exist from the start: rate() cannot see a first increment."""
        for rule_id in self._rule_ids:
            for verdict in get_args(Verdict):
                self.verdicts.labels(rule_id, verdict)
            for severity, outcome in product(SEVERITIES, get_args(Outcome)):
                self.findings.labels(rule_id, severity, outcome)
        for reason in REASONS:
            self.dead_letters.labels(reason)
        for result in ("success", "failure"):
            self.commits.labels(result)
        for kind in ("assigned", "revoked", "lost"):
            self.rebalances.labels(kind)
        for became in get_args(MarkResult):
            self.canaries.labels(became)
        for account in self._newest:
            self.newest.labels(account)

    def committed(self, batch: Batch, now: float) -> None:
        """`now` is by time.monotonic."""
        self.messages.inc(batch.messages)
        self.message_bytes.inc(batch.bytes)
        self.near_misses.inc(batch.near_misses)
        self.batch_messages.observe(batch.messages)
        self.batch_seconds.observe(now - batch.polled_at)
        self.screened.inc(batch.screened)
        self.commits.labels("success").inc()
        for metric, counts in (
            (self.records, batch.records),
            (self.ignored, batch.ignored),
            (self.dead_letters, batch.rejected),
            (self.canaries, batch.canaries),
        ):
            for label, count in counts.items():
                metric.labels(label).inc(count)
        self._count_verdicts(batch)
        today = time.time()
        for account, moment in batch.accounts.newest.items():
            # A time in the future would hide the silence until then.
            self._newest[account] = max(self._newest[account], min(moment, today))
            self.newest.labels(account).set(self._newest[account])
        self._count_findings(batch, now, today)

    def _count_findings(self, batch: Batch, now: float, today: float) -> None:
        for finding in batch.findings:
            if finding.stage is not None:
                self.staged_findings.labels(finding.rule_id, finding.severity, finding.outcome).inc()
                continue
            if finding.canary:  # not among the findings, which alerts look at
                self.canary_success.set(today)
                continue
            if finding.suppressed_by is not None:  # counted as a verdict
                continue
            self.findings.labels(finding.rule_id, finding.severity, finding.outcome).inc()
            if batch.found_at is not None:
                self.latency.observe(now - batch.found_at)
            if finding.event_time is not None:
                event_time = datetime.fromisoformat(finding.event_time).astimezone(UTC)
                self.age.observe(max(0.0, today - event_time.timestamp()))

    def _count_verdicts(self, batch: Batch) -> None:
        """Every rule answers every record; the batch leaves out "no match", by far the most."""
        records = sum(batch.records.values())
        answered = dict.fromkeys(self._rule_ids, 0)
        for (rule_id, verdict), count in batch.verdicts.items():
            self.verdicts.labels(rule_id, verdict).inc(count)
            answered[rule_id] += count
        for rule_id, count in answered.items():
            self.verdicts.labels(rule_id, "no_match").inc(records - count)

    def failed(self, _batch: Batch) -> None:
        self.commits.labels("failure").inc()

    def partitions_paused(self, places: Collection[Place]) -> None:
        self.paused.inc(len(places))

    def rebalanced(self, kind: str, assigned: int, paused: int) -> None:
        self.rebalances.labels(kind).inc()
        self.assigned.set(assigned)
        self.paused.set(paused)

    def lags(self, lags: Mapping[Place, int]) -> None:
        """Replace the series: those of partitions that are no longer ours go."""
        for (topic, partition), lag in lags.items():
            self.lag.labels(topic, str(partition)).set(lag)
        for gone in self._lagging - lags.keys():
            self.lag.remove(*gone)
        self._lagging = set(lags)

    def text(self) -> bytes:
        return generate_latest(self.registry)
