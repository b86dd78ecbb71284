"""A transaction whose last calls never return: the producer is given up, and nothing is lost or doubled."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from service.batch import Message, Outgoing
from service.errors import DeliveryError
from service.kafka.sink import ExactlyOnceSink
from service.kafka.source import KafkaSource
from service.settings import KafkaSettings
from tests.broker import missing, poll_until
from tests.cluster import Cluster
from tests.integration.test_joining import Ignored
from tests.running import feed, read

pytestmark = [pytest.mark.broker, pytest.mark.long]


class HeldUp(KafkaSource):
    """A source in whose group's transactions the network goes quiet after the outputs were acknowledged."""

    held_up: threading.Event
    cluster: Cluster

    def group_metadata(self) -> object:
        metadata = super().group_metadata()
        if not self.held_up.is_set():
            self.held_up.set()
            self.cluster.proxies[0].hold()
        return metadata


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if missing():
        request.getfixturevalue("kafka_tools")  # says what is missing
    with Cluster(tmp_path) as running:
        yield running


def outputs(topic: str, messages: Sequence[Message]) -> list[Outgoing]:
    return [Outgoing(topic, None, message.value(), [], 0) for message in messages]


def test_a_transaction_that_does_not_end_is_given_up_and_done_again(cluster: Cluster) -> None:
    kafka = cluster.direct
    events, findings = kafka.new_topic(), kafka.new_topic()
    feed(kafka, events, [(0, b"%d" % number) for number in range(10)])
    settings = KafkaSettings(bootstrap_servers=cluster.bootstrap, group_id="held-up")
    source = HeldUp(settings, topic=events, observer=Ignored())
    source.held_up, source.cluster = threading.Event(), cluster
    sink = ExactlyOnceSink(settings, source, [findings], threading.Event(), lambda: None)
    source.check()
    sink.check()
    try:
        first = poll_until(source.poll, "messages")
        offsets = {(events, 0): (first[-1].offset() or 0) + 1}
        with pytest.raises(DeliveryError, match="did not end within"):
            sink.deliver(outputs(findings, first), offsets)
        cluster.proxies[0].release()

        def recovered() -> bool:
            try:
                sink.recover()
                source.rewind()
            except DeliveryError:
                source.idle()
                return False
            return True

        poll_until(recovered, "a new producer", 60)
        # The old one may have ended its transaction before it was fenced off: then nothing is read again.
        while len(read(kafka, findings, 0)) < 10:
            again = source.poll()
            if again:
                sink.deliver(outputs(findings, again), {(events, 0): (again[-1].offset() or 0) + 1})
        found = sorted(int(message.value() or b"") for message in read(kafka, findings, 10))
        assert found == list(range(10))
    finally:
        sink.close()
        source.close()
