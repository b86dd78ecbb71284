"""The runs: a storm, and two calm ones, steady load and an outage of the brokers."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from signal import SIGTERM

from tests.broker import poll_until
from tests.storm.faults import Storm, schedule
from tests.storm.report import Result
from tests.storm.stage import DEAD_LETTERS, FINDINGS, Plan, Stage, drain, staged
from tests.storm.verifier import count_to_end, judge

Say = Callable[[str], None]

SAMPLE_SECONDS = 30.0


def storm(plan: Plan, folder: Path) -> Result:
    """Faults for `plan.seconds`, then calm until all is read, then the count."""
    with staged(plan, folder) as stage:
        weather = Storm(stage.cluster, stage.workers, "cloudtrail.events", folder / "faults.log", stage.executor)
        weather.run(schedule(plan.seed, plan.seconds))
        result = conclude(plan, stage)
    weather.note_gaps(stage.verifier.seen.times)
    result.faults = dict(sorted(weather.done.items()))
    result.broker_recovery_seconds = _recovery(weather.brokers_back, stage.verifier.seen.times)
    return result


def steady(plan: Plan, folder: Path, say: Say) -> Result:
    """No faults: memory and lag, told every half minute."""
    with staged(plan, folder) as stage:
        started = time.monotonic()
        workers = list(stage.workers.running)
        say("seconds      lag  " + "  ".join(f"{worker.name} MiB" for worker in workers))
        while (elapsed := time.monotonic() - started) < plan.seconds:
            memory = ["ended" if worker.has_ended() else f"{worker.resident_mib():.1f}" for worker in workers]
            say(f"{elapsed:7.0f}  {stage.lag()!s:>7}  " + "  ".join(f"{each:>12}" for each in memory))
            time.sleep(min(SAMPLE_SECONDS, plan.seconds - elapsed))
            stage.check()
        return conclude(plan, stage)


def outage(plan: Plan, folder: Path, say: Say) -> Result:
    """The brokers are away for `plan.seconds`: the workers must live through it, and go on after."""
    with staged(plan, folder) as stage:
        pids = [worker.process.pid for worker in stage.workers.running]
        for broker in stage.cluster.brokers:
            broker.kill()
        say(f"brokers away; workers {pids}")
        unlively = _watch(stage, time.monotonic() + plan.seconds)
        for broker in stage.cluster.brokers:
            broker.launch()
        for broker in stage.cluster.brokers:
            broker.start()
        back = time.monotonic()
        say("brokers answer again")
        poll_until(lambda: stage.verifier.seen.times[-1] > back, "progress", 180)
        say(f"progress {stage.verifier.seen.times[-1] - back:.1f} s later")
        same = [worker.process.pid for worker in stage.workers.running] == pids
        result = conclude(plan, stage)
    result.broker_recovery_seconds = _recovery([back], stage.verifier.seen.times)
    result.problems += unlively
    if not same:
        result.problems.append("a worker was replaced during the outage")
    return result


def _watch(stage: Stage, until: float) -> list[str]:
    """Ask each worker's /livez every second: what was not 200."""
    problems = []
    while time.monotonic() < until:
        for worker in stage.workers.running:
            status, body = worker.get("/livez")
            if status != 200:
                problems.append(f"/livez of {worker.name}: {status} {body.strip()}")
        time.sleep(1)
    return problems


def conclude(plan: Plan, stage: Stage) -> Result:
    """Drain, end the workers, read everything once more, judge."""
    drained = drain(stage)
    if drained is None:
        stage.workers.dump()
    stage.check()
    workers, seen = stage.workers, stage.verifier.seen
    workers.finish()
    unended = [worker.name for worker in workers.running]
    workers.kill()
    poll_until(stage.settled, "the end of all transactions", 60)
    bootstrap, topics = stage.cluster.direct.bootstrap, [FINDINGS, DEAD_LETTERS]
    committed = count_to_end(bootstrap, topics, "read_committed")
    written = count_to_end(bootstrap, topics, "read_uncommitted")
    stage.verifier.finish(committed)
    stage.verifying.result()
    said = workers.said()
    result = Result(
        plan=plan,
        fed=stage.feeder.fed.events,
        findings_expected=len(stage.feeder.fed.findings),
        dead_letters_expected=len(stage.feeder.fed.dead_letters),
        verdict=judge(stage.feeder.fed, seen),
        out_of_order=seen.out_of_order,
        aborted=written - committed,
        drain_seconds=drained,
        longest_gap_seconds=max(later - earlier for earlier, later in pairwise(seen.times)),
        sigterm_seconds=max((w.exit_seconds or 0 for w in workers.ended if w.told_by == SIGTERM), default=0),
        batches_given_up=said["batch given up, will be read again"],
        recoveries=said["delivery works again"],
        rebalances={kind: said[f"partitions changed {kind}"] for kind in ("assigned", "revoked", "lost")},
        worker_problems=[problem for worker in workers.ended if (problem := worker.problem())],
    )
    result.problems += [f"{name} did not end after SIGTERM" for name in unended]
    if seen.messages != committed:
        result.problems.append(f"the live reader saw {seen.messages} messages, a later one {committed}")
    return result


def _recovery(back: list[float], progress: list[float]) -> list[float]:
    """For each time the brokers answered again, the seconds until something came out."""
    return [round(next((at - since for at in progress if at > since), -1.0), 2) for since in back]
