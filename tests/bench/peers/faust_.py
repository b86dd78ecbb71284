"""Faust (faust-streaming) and orjson: an agent that takes messages by the thousand."""

import signal
import sys
from typing import Any

import faust
import orjson

from tests.bench.peers.job import Job


def main() -> None:
    job = Job()
    app = faust.App(
        job.group,
        broker=f"kafka://{job.bootstrap}",
        value_serializer="raw",
        topic_disable_leader=True,
        web_enabled=False,
        # "may let you process over 30,000 events a second":
        # https://faust-streaming.github.io/faust/userguide/settings.html#stream-buffer-maxsize
        stream_buffer_maxsize=131_072,
        # Then "must be set to commit frequently": the default, every 2.8 s and every 10,000 messages, is.
        broker_check_crcs=False,
        consumer_auto_offset_reset="earliest",
    )
    events, findings = app.topic(job.topic), app.topic(job.findings)
    worker = faust.Worker(app, loglevel="ERROR", redirect_stdouts=False)

    async def look(stream: Any) -> None:
        async for values in stream.take(1_000, within=1):
            job.arrived(len(values))
            for value in values:
                if (finding := job.finding(orjson.loads(value))) is not None:
                    await findings.send(value=finding)
            if job.done:
                job.report()
                signal.raise_signal(signal.SIGTERM)  # in good order: it flushes and commits

    app.agent(events)(look)
    sys.argv[1:] = []
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
