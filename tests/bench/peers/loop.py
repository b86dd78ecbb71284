"""The limit for this client: messages are counted, nothing else is done with them."""

from confluent_kafka import Consumer

from tests.bench.peers.job import Job


def main() -> None:
    job = Job()
    consumer = Consumer(
        {
            "bootstrap.servers": job.bootstrap,
            "group.id": job.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            # By default the fetcher sleeps a second whenever the queue is full.
            "fetch.queue.backoff.ms": 2,
        }
    )
    consumer.subscribe([job.topic])
    while not job.done:
        job.arrived(len(consumer.consume(5_000, 1.0)))
    job.report()
    consumer.close()


if __name__ == "__main__":
    main()
