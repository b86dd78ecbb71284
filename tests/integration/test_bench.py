"""What the bench's figures rest on: who is measured has read every message and found what is there. No figures."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.contestant import NotMeasured, run_peer
from tests.bench.data import AVRO_SCHEMA
from tests.bench.peer_programs import loop
from tests.bench.stage import DataSet, Stage
from tests.bench.tokentrail import Tokentrail
from tests.broker import Kafka
from tests.registry import FakeRegistry

pytestmark = pytest.mark.long

DATA = DataSet(4_000, watched_every=400)


@pytest.fixture
def prepared(broker: Kafka, tmp_path: Path) -> Iterator[Stage]:
    with FakeRegistry() as registry:
        registry.add(AVRO_SCHEMA)
        yield Stage(broker, registry, seed=1, folder=tmp_path)


def test_the_loop_reads_every_message(prepared: Stage) -> None:
    """It is what the others are compared with."""
    assert loop(prepared, DATA).records == DATA.records


@pytest.mark.parametrize("mode", ["at-least-once", "exactly-once"])
def test_the_service_reads_every_message_and_finds_every_watched_record(prepared: Stage, mode: str) -> None:
    """Its own metrics and the findings topic agree with what was put in, or the run is refused."""
    assert Tokentrail(mode)(prepared, DATA).records == DATA.records


@pytest.mark.parametrize(
    ("envelope", "records_a_message"),
    [("records", 200), ("cloudwatch", 200), ("eventbridge", 1), ("ecs", 1), ("avro", 1)],
)
def test_every_envelope_holds_what_plain_records_do(
    prepared: Stage, envelope: str, records_a_message: int
) -> None:
    """The service finds the same number in each."""
    data = DataSet(4_000, 400, envelope=envelope, records_a_message=records_a_message, copies=2)
    assert Tokentrail("at-least-once")(prepared, data).records == data.records


def test_who_finds_less_is_not_measured(prepared: Stage) -> None:
    """A contestant that only counts would be the fastest of all."""
    with pytest.raises(NotMeasured, match="found 0 and published 0 of 10"):
        run_peer([sys.executable, "-m", "tests.bench.peers.loop"], prepared, DATA)


def test_who_dies_is_not_measured_and_its_last_words_are_shown(prepared: Stage) -> None:
    """A bench that swallows a contestant's complaint cannot be mended."""
    with pytest.raises(NotMeasured, match=r"ended with 3:\nno such thing"):
        run_peer([sys.executable, "-c", "import sys; print('no such thing'); sys.exit(3)"], prepared, DATA)


def test_data_are_the_same_for_the_same_seed() -> None:
    """Topics are kept from run to run under a name made of the seed."""
    assert list(DATA.values(1)) == list(DATA.values(1)) != list(DATA.values(2))
