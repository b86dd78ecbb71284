"""The Grafana dashboard as code: `python -m deploy.grafana.dashboard` writes tokentrail.json beside this file.

Panels ask the metrics themselves, not recording rules, so it works where no rule is loaded.
"""  # noqa: INP001  a program beside what it makes, not a package

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, Panel, VariableOption, VariableRefresh

from deploy.grafana.panels import (
    SOURCE,
    bars,
    by,
    graph,
    heat,
    increase,
    number,
    of,
    of_process,
    quantile,
    rate,
    totals,
    verdicts,
)

FILE: Final = Path(__file__).with_name("tokentrail.json")

# Infinite when messages wait and nothing moves; nothing waiting and nothing moving is no backlog.
_LAG: Final = f"sum({of('consumer_lag')})"
_BACKLOG: Final = (f"{_LAG} / sum({rate('messages_total')}) >= 0 or {_LAG}", "backlog")
_NEWEST: Final = f"max by (account) ({of('account_newest_event_timestamp_seconds')})"
_SEVERE: Final = 'severity=~"high|critical"'
_MATCHES: Final = by("rule", rate("rule_verdicts_total", 'verdict="match"'))

Panels = Iterable[Builder[Panel]]


def dashboard() -> Dashboard:
    board = (
        Dashboard("Tokentrail")
        .uid("tokentrail")
        .description(
            "Detection of sts:GetFederationToken abuse: does it keep up, what does it find, what is wrong."
        )
        .tags(["tokentrail", "security"])
        .editable()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("utc")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_choice("namespace", "Namespace", "label_values(tokentrail_build_info, namespace)"))
        .with_variable(_choice("job", "Job", 'label_values(tokentrail_build_info{namespace=~"$namespace"}, job)'))
    )
    rows = {
        "At a glance": _at_a_glance(),
        "Is it healthy and keeping up?": _keeping_up(),
        "What does it find?": _found(),
        "What goes wrong?": _wrong(),
        "Do events still come from everywhere?": _upstream(),
    }
    for title, panels in rows.items():
        board.with_row(Row(title))
        for panel in panels:
            board.with_panel(panel)
    return board


def _choice(name: str, label: str, query: str) -> QueryVariable:
    everything = VariableOption(text="All", value="$__all", selected=True)
    variable = QueryVariable(name).label(label).query(query).datasource(SOURCE).current(everything)
    variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).multi(multi=True).include_all(include_all=True)
    return variable.all_value(".*")  # also fits where the label is absent, as the namespace is outside Kubernetes


def _at_a_glance() -> Panels:
    yield number("Replicas ready", "short", "Those whose /readyz says 200.", (f"sum({of('ready')})", "ready"))
    messages = (f"sum({rate('messages_total')})", "messages")
    yield number("Messages", "cps", "Read and committed, a second.", messages)
    yield number("Backlog", "s", "How long what waits takes at the present pace.", _BACKLOG, red_from=300)
    severe = (f"sum({increase('findings_total', _SEVERE, over='$__range')})", "findings")
    yield number("High and critical findings", "short", "In the time range shown.", severe, red_from=1)
    paused = (f"sum({of('paused_partitions')})", "paused")
    yield number("Paused partitions", "short", "What comes on them is not looked at.", paused, red_from=1)
    versions = (f"count by (version) ({of('build_info')})", "{{version}}")
    yield number("Version", "short", "Replicas by version.", versions)


def _keeping_up() -> Panels:
    yield graph(
        "Messages by replica",
        "cps",
        "Messages read and committed, a second.",
        (by("instance", rate("messages_total")), "{{instance}}"),
    )
    yield graph(
        "Bytes by replica",
        "Bps",
        "Bytes of the values of committed messages, a second.",
        (by("instance", rate("message_bytes_total")), "{{instance}}"),
    )
    yield graph(
        "Records by envelope",
        "cps",
        "CloudTrail records a second, by the envelope they came in.",
        (by("envelope", rate("records_total")), "{{envelope}}"),
    )
    yield graph(
        "Lag by partition",
        "short",
        "Messages not committed yet. One partition alone: a hot key, or rubbish that paused it.",
        (by("topic, partition", of("consumer_lag")), "{{topic}} {{partition}}"),
    )
    yield graph("Lag in time", "s", "How long the backlog takes at the present pace.", _BACKLOG)
    yield graph(
        "Detection latency",
        "s",
        "From the poll of a message to the commit of its finding.",
        (quantile(0.5, "detection_latency_seconds"), "p50"),
        (quantile(0.99, "detection_latency_seconds"), "p99"),
    )
    yield heat("Detection latency, spread", "s", "Findings by latency.", "detection_latency_seconds")
    yield heat("Batch time, spread", "s", "Batches by the time from poll to commit.", "batch_seconds")
    yield heat("Batch size, spread", "short", "Batches by their number of messages.", "batch_messages")
    yield graph(
        "Partitions assigned and paused",
        "short",
        "All partitions of the topic should be assigned, and none paused.",
        (by("instance", of("assigned_partitions")), "{{instance}} assigned"),
        (by("instance", of("paused_partitions")), "{{instance}} paused"),
    )
    yield bars(
        "Rebalances",
        "Of replicas, by kind. Expected when replicas come and go; lost partitions are not.",
        (by("kind", increase("rebalances_total")), "{{kind}}"),
    )
    yield graph("Ready", "short", "1 while /readyz says 200.", (by("instance", of("ready")), "{{instance}}"))
    yield graph("Memory", "bytes", "Resident memory.", (of_process("resident_memory_bytes"), "{{instance}}"))
    yield graph("CPU", "percentunit", "Of one core.", (of_process("cpu_seconds_total"), "{{instance}}"))
    yield graph(
        "Time since start",
        "s",
        "Falls to zero at a restart.",
        (f"time() - ({of_process('start_time_seconds')})", "{{instance}}"),
    )


def _found() -> Panels:
    yield bars(
        "Matches by rule",
        "Events that a rule matched, suppressed ones not counted.",
        (verdicts("match"), "{{rule}}"),
    )
    yield bars(
        "Findings by severity",
        "Published findings.",
        (by("severity", increase("findings_total")), "{{severity}}"),
    )
    yield bars(
        "Findings by outcome",
        "Whether the call that was found succeeded.",
        (by("outcome", increase("findings_total")), "{{outcome}}"),
    )
    yield totals(
        "Findings in the time range",
        "By rule, severity and outcome.",
        f"{by('rule, severity, outcome', increase('findings_total', over='$__range'))} > 0",
        ("rule", "severity", "outcome"),
    )
    yield graph(
        "Match rate by rule",
        "percentunit",
        "Share of all records that a rule matches.",
        (f"{_MATCHES} / {by('rule', rate('rule_verdicts_total'))}", "{{rule}}"),
    )
    yield bars(
        "Not evaluable",
        "Events that a rule watches but could not judge, since CloudTrail left out what it judges by.",
        (verdicts("not_evaluable"), "{{rule}}"),
    )
    yield bars(
        "Suppressed", "Matches that the operator's tuning suppresses.", (verdicts("suppressed"), "{{rule}}")
    )
    yield bars(
        "Near misses",
        "Watched event names in another letter case: no match, and worth a look at what writes them.",
        (f"sum({increase('near_misses_total')})", "near misses"),
    )
    yield bars(
        "Findings of rules on trial",
        "Findings of staged rules and clauses; they are not among those above.",
        (by("rule", increase("staged_findings_total")), "{{rule}}"),
    )
    yield graph(
        "Age of events when found",
        "s",
        "From the event's own time to the commit of its finding: CloudTrail's delivery and ours.",
        (quantile(0.5, "event_age_seconds"), "p50"),
        (quantile(0.99, "event_age_seconds"), "p99"),
    ).span(24)


def _wrong() -> Panels:
    yield bars(
        "Dead letters by reason",
        "Messages, or parts of them, that could not be read.",
        (f"{by('reason', increase('dead_letters_total'))} > 0", "{{reason}}"),
    )
    yield bars(
        "Ignored, by kind",
        "Parts that hold nothing to detect.",
        (by("kind", increase("ignored_records_total")), "{{kind}}"),
    )
    yield bars(
        "Rule errors",
        "Rules that raised; what they should have said is not known. Never normal.",
        (verdicts("error"), "{{rule}}"),
    )
    yield bars(
        "Commits by result",
        "One a batch. A failed one is read again.",
        (by("result", increase("commits_total")), "{{result}}"),
    )
    yield bars(
        "Producer replacements",
        "After a failed transaction. A few while brokers restart are normal.",
        (by("instance", increase("producer_replacements_total")), "{{instance}}"),
    )
    yield bars(
        "Screened messages",
        "Messages skipped undecoded by detect.screen.",
        (f"sum({increase('screened_messages_total')})", "screened"),
    )


def _upstream() -> Panels:
    yield graph(
        "Age of the newest event by account",
        "s",
        "Of those in accounts.expected that were seen since the start. A line that climbs is an account that fell "
        "silent: its trail was turned off, or what brings its events here broke.",
        (f"time() - ({_NEWEST} > 0)", "{{account}}"),
    ).span(16)
    yield graph(
        "Expected accounts never seen",
        "short",
        "How many of accounts.expected have given no event since the start.",
        (f"count({_NEWEST} == 0) or 0 * count({_NEWEST})", "never seen"),
    )
    yield graph(
        "Time since the last canary",
        "s",
        "Since the finding of a canary, an attack that nobody made, was last committed. Empty where none is fed.",
        (f"time() - (max({of('canary_last_success_timestamp_seconds')}) > 0)", "canary"),
    ).span(12)
    yield bars(
        "Canaries",
        "Marks of canaries, by whether they were believed. What is not accepted was made by somebody else.",
        (by("result", increase("canaries_total")), "{{result}}"),
    ).span(12)


def text() -> str:
    built = dashboard().build()
    for position, panel in enumerate(built.panels or [], start=1):
        panel.id_val = position
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
