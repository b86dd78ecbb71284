"""Quix Streams: a dataframe that filters, its JSON deserializer being orjson."""

from typing import Any

from quixstreams import Application

from tests.bench.peers.job import Job


def main() -> None:
    job = Job()
    app = Application(
        job.bootstrap,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="ERROR",
        # A gift, not in its documentation: else librdkafka's fetcher sleeps a second when its queue is full.
        consumer_extra_config={"fetch.queue.backoff.ms": 2},
    )
    events = app.topic(job.topic, value_deserializer="json")
    findings = app.topic(job.findings, value_serializer="bytes")

    def look(record: Any) -> bytes | None:
        job.arrived()
        finding = job.finding(record)
        if job.done:
            app.stop()
        return finding

    frame = app.dataframe(events).apply(look)
    frame[frame.apply(lambda finding: finding is not None)].to_topic(findings)
    app.run()
    job.report()


if __name__ == "__main__":
    main()
