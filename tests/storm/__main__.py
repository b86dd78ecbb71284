"""`python -m tests.storm`: proves on real brokers that nothing is lost and nothing doubled.

Exits 1 when a run failed, or proved nothing; its logs are then in .cache/storm/.
"""

import dataclasses
import signal
import sys
import time
from typing import Any

import click

from tests.broker import ROOT, missing
from tests.storm.report import Result, save, table
from tests.storm.run import outage, steady, storm
from tests.storm.stage import Plan

RUNS = ROOT / ".cache" / "storm"


@click.command(context_settings={"show_default": True})
@click.option("--protocol", type=click.Choice(["consumer", "classic"]), default="consumer", help="Of the group.")
@click.option("--mode", type=click.Choice(["exactly-once", "at-least-once"]), default="exactly-once")
@click.option("--seconds", type=float, default=Plan.seconds, help="How long faults last.")
@click.option("--seed", type=int, default=Plan.seed, help="Of the faults and the events.")
@click.option("--brokers", type=click.Choice(["1", "3"]), default="1")
@click.option("--workers", type=click.IntRange(1), default=Plan.workers)
@click.option("--rate", type=float, default=Plan.rate, help="Events a second.")
@click.option("--control", is_flag=True, help="The same storm in at-least-once too, which must show doubles.")
@click.option("--steady", "is_steady", is_flag=True, help="No faults: memory and lag every half minute.")
@click.option("--outage", "outage_seconds", type=float, help="One fault: the brokers away for so many seconds.")
def main(*, control: bool, is_steady: bool, outage_seconds: float | None, **options: Any) -> None:
    """A storm of faults on real workers and brokers, and the count of what came out."""
    # As by Ctrl-C, so that no worker or broker outlives the run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if lack := missing():
        raise click.ClickException(lack)
    plan = Plan(**{**options, "brokers": int(options["brokers"])})
    if outage_seconds is not None:
        plan = dataclasses.replace(plan, seconds=outage_seconds)
    plans = [plan]
    if control:
        plans = [dataclasses.replace(plan, mode=mode) for mode in ("exactly-once", "at-least-once")]
    results = []
    for each in plans:
        results.append(_run(each, is_steady=is_steady, is_outage=outage_seconds is not None))
        save(results[-1], RUNS / "results.jsonl")
    click.echo(table(results))
    failures = [f"{each.plan.mode}: {failure}" for each in results for failure in each.failures()]
    for failure in failures:
        click.echo(f"FAILED {failure}")
    sys.exit(bool(failures))


def _run(plan: Plan, *, is_steady: bool, is_outage: bool) -> Result:
    folder = RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{plan.protocol}-{plan.mode}-{plan.seed}"
    click.echo(f"{plan}\nlogs: {folder.relative_to(ROOT)}")
    if is_steady:
        return steady(plan, folder, click.echo)
    if is_outage:
        return outage(plan, folder, click.echo)
    return storm(plan, folder)


if __name__ == "__main__":
    main()
