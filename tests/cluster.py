"""One Kafka broker or several that form a cluster, each behind a proxy that can spoil its network.

Clients that use `bootstrap` go through the proxies; `direct` is for those that watch.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from confluent_kafka.admin import AdminClient

from tests.broker import Broker, Kafka, free_ports, poll_until
from tests.proxy import Proxy

LISTENER = "PROXIED"


class Cluster:
    """`size` brokers with their data and logs below `folder`. With three or more, one may be away: all topics
    then have three replicas, of which two must be in sync.
    """

    def __init__(self, folder: Path, size: int = 1, properties: Mapping[str, str] | None = None) -> None:
        self.folders = [folder / f"broker-{number}" for number in range(1, size + 1)]
        for each in self.folders:
            each.mkdir(parents=True)
        common = _replication(size) | dict(properties or {})
        self.brokers = [Broker(each, common, [LISTENER]) for each in self.folders]
        self._ports = free_ports(size)
        self.proxies: list[Proxy] = []
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        self.direct = Kafka(",".join(broker.bootstrap for broker in self.brokers))
        self.admin = AdminClient({"bootstrap.servers": self.direct.bootstrap, "log_level": 0})
        voters = ",".join(f"{number}@{each.controller}" for number, each in enumerate(self.brokers, start=1))
        for number, (broker, port) in enumerate(zip(self.brokers, self._ports, strict=True), start=1):
            broker.properties |= {
                "node.id": str(number),
                "controller.quorum.voters": voters,
                "advertised.listeners": f"PLAINTEXT://{broker.bootstrap},{LISTENER}://127.0.0.1:{port}",
                "inter.broker.listener.name": "PLAINTEXT",
                "listener.security.protocol.map": f"PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{LISTENER}:PLAINTEXT",
            }
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for broker, port in zip(self.brokers, self._ports, strict=True):
                target = int(broker.addresses[LISTENER].rpartition(":")[2])
                self.proxies.append(started.enter_context(Proxy(port, target)))
                started.callback(broker.kill)
                broker.launch()
            for broker in self.brokers:
                broker.start()
            poll_until(self._is_whole, "every broker in the cluster")
            self._running = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def remove_data(self) -> None:
        """For a cluster that has ended: its logs stay."""
        for folder in self.folders:
            shutil.rmtree(folder / "data", ignore_errors=True)

    def _is_whole(self) -> bool:
        return len(self.admin.list_topics(timeout=10).brokers) == len(self.brokers)


def _replication(size: int) -> dict[str, str]:
    if size < 3:
        return {}
    return {
        "default.replication.factor": "3",
        "min.insync.replicas": "2",
        "offsets.topic.replication.factor": "3",
        "transaction.state.log.replication.factor": "3",
        "transaction.state.log.min.isr": "2",
    }
