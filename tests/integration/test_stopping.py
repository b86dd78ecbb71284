"""SIGTERM while there is work, and while the broker is gone: how it ends, and what was committed by then."""

import signal
from pathlib import Path

import pytest

from tests.broker import Broker, Kafka, poll_until
from tests.integration.test_run import Program, Run, committed, finding_ids, send
from tests.running import published, record

EVENTS = 10_000
LOADED = 1_000
LAST_SECONDS = 21.0  # the service's own deadline, and a second to notice


def program(broker: Kafka, folder: Path, mode: str) -> Program:
    names = broker.new_topic(3), broker.new_topic(2), broker.new_topic()
    send(broker, names[0], [(b"%d" % number, record(f"event-{number}")) for number in range(EVENTS)])
    settings = {"DELIVERY__MODE": mode, "LIMITS__BATCH_MESSAGES": "200"}
    return Program(broker.bootstrap, *names, folder, settings=settings)


def wait_for_load(run: Run) -> None:
    run.wait_for("connected")
    run.wait_until_ready()
    poll_until(lambda: run.count("messages_total") >= LOADED, "load")


def end(run: Run) -> None:
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(LAST_SECONDS) == 0
    assert run.logged("stopped")[0]["exit_code"] == 0


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_sigterm_under_load_ends_well_and_commits_what_it_published(
    broker: Kafka, tmp_path: Path, mode: str
) -> None:
    """Each event gives one finding: what is readable and what is committed can be compared by number."""
    loaded = program(broker, tmp_path, mode)
    with loaded.running() as run:
        wait_for_load(run)
        end(run)
    done = sum(committed(broker, loaded).values())
    assert LOADED <= done < EVENTS, "the signal came while there was work"
    found = finding_ids(published(broker, loaded.findings))
    assert found.total() == len(found) >= done
    assert mode == "at-least-once" or len(found) == done


@pytest.mark.long
@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_sigterm_while_the_broker_is_gone_ends_in_time_and_nothing_is_doubled(
    own_broker: Broker, tmp_path: Path, mode: str
) -> None:
    loaded = program(own_broker, tmp_path, mode)
    with loaded.running() as run:
        wait_for_load(run)
        own_broker.kill()
        end(run)
    own_broker.start()
    done = sum(committed(own_broker, loaded).values())
    with loaded.running() as run:
        run.wait_for_messages(EVENTS - done)
        assert run.stop() == 0
    found = finding_ids(published(own_broker, loaded.findings))
    assert len(found) == EVENTS
    assert mode == "at-least-once" or found.total() == EVENTS
