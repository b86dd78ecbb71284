"""aiokafka and orjson."""

import asyncio

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.bench.peers.job import Job


async def main() -> None:
    job = Job()
    # https://aiokafka.readthedocs.io/en/stable/api.html: batches by getmany(), and no CRC check, "in cases seeking
    # extreme performance" (librdkafka makes none by default either). It commits by itself every 5 s.
    consumer = AIOKafkaConsumer(
        job.topic,
        bootstrap_servers=job.bootstrap,
        group_id=job.group,
        auto_offset_reset="earliest",
        check_crcs=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=job.bootstrap)
    await producer.start()
    await consumer.start()
    while not job.done:
        for messages in (await consumer.getmany(timeout_ms=1_000)).values():
            job.arrived(len(messages))
            for message in messages:
                if (finding := job.finding(orjson.loads(message.value))) is not None:
                    await producer.send(job.findings, finding)
    job.report()
    await consumer.stop()
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(main())
