"""`tokentrail demo`: see an attack found, with nothing but this program."""

import sys
import time
from collections import Counter

import click
from rich.console import Console
from rich.text import Text

from service import log
from service.cli import complain
from service.cli.table import STYLES, cell, console
from service.demo import Demo, keep_feeding, play
from service.escape import printable
from service.finding import SEVERITIES, Finding

_WIDTHS = (6, 9, 36, 21, 17)


@click.command("demo")
@click.option("--keep", is_flag=True, help="Stay up and go on feeding, so that metrics can be scraped.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of the metrics; a free one by default."
)
def command(*, keep: bool, port: int) -> int:
    """Run the whole pipeline on a built-in Kafka cluster: a day at a company, and an attack in it.

    Needs no broker, no Java, no network. The events are synthetic. Ends by itself within 30 seconds.
    """
    log.configure("warning", "auto", sys.stderr)
    out = console()
    started = time.monotonic()
    out.print("Tokentrail reads a synthetic day of Brightwater Logistics from a built-in Kafka cluster.")
    out.print("Delivery is at-least-once here: the built-in cluster has no transactions.\n")
    try:
        demo = Demo(port)
    except OSError as error:
        raise click.UsageError(f"--port {port}: {(error.strerror or 'cannot be had').lower()}") from None
    try:
        shown = _Shown(out)
        counts = play(demo, shown)
        complete = _summary(out, demo, counts, shown, time.monotonic() - started)
        if keep:
            out.print(f"\nStill feeding, slowly. Metrics: {demo.metrics_url}  (Ctrl-C ends it)")
            keep_feeding(demo, shown)
    except KeyboardInterrupt:
        out.print()
        return 0
    finally:
        demo.close()
    if not complete:
        complain("the service did not read all of the day in time")
    return 0 if complete else 1


class _Shown:
    """Prints a line for each finding as it comes, and remembers the worst."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self.worst: Finding | None = None
        head = ("time", "severity", "rule", "who", "session")
        self._line([cell(name, "bold") for name in head], cell("what", "bold"))

    def __call__(self, finding: Finding) -> None:
        if self.worst is None or finding.severity_id > self.worst.severity_id:
            self.worst = finding
        who = (finding.containment_arn or "?").rpartition("/")[2] or "?"
        cells = [
            cell((finding.event_time or "?")[11:16]),
            cell(finding.severity, STYLES[finding.severity]),
            cell(finding.rule_id),
            cell(who),
            cell(finding.federated_user_name),
        ]
        what = ", ".join(finding.clauses) + (" (failed)" if finding.outcome == "failure" else "")
        self._line(cells, cell(what))

    def _line(self, cells: list[Text], last: Text) -> None:
        line = Text()
        for text, width in zip(cells, _WIDTHS, strict=True):
            line.append_text(text)
            line.append(" " * max(1, width - len(text)))
        line.append_text(last)
        self._out.print(line, overflow="fold")


# Returns whether all was read and every finding was seen.
def _summary(out: Console, demo: Demo, counts: Counter[str], shown: _Shown, seconds: float) -> bool:
    metrics = demo.metrics()
    severities: Counter[str] = Counter()
    for labels, value in metrics.get("tokentrail_findings_total", {}).items():
        severities.update({name: int(value) for name in labels.split() if name in SEVERITIES})
    by_severity = ", ".join(f"{severities[name]} {name}" for name in reversed(SEVERITIES) if severities[name])
    dead = sum(metrics.get("tokentrail_dead_letters_total", {}).values())
    verdicts = metrics.get("tokentrail_rule_verdicts_total", {})
    unread = sum(value for labels, value in verdicts.items() if labels.endswith("not_evaluable"))
    out.print(f"\nFrom its own metrics, after {seconds:.0f} s:")
    read = metrics["tokentrail_messages_total"][""]
    out.print(f"  {read:,.0f} messages read of {counts['sent']:,} sent")
    out.print(f"  {severities.total()} findings: {by_severity}")
    out.print(f"  {unread:.0f} verdict not evaluable: a failed call hides what it asked for")
    out.print(f"  {dead:.0f} dead letters: messages that are no CloudTrail, kept for you to look at")
    if shown.worst is not None:
        out.print(f"\nThe worst: {printable(shown.worst.title)}", style="bold")
        for number, step in enumerate(shown.worst.runbook, start=1):
            out.print(f"  {number}. {printable(step, 2_000)}")
    return read == counts["sent"] and severities.total() == counts["findings"]
