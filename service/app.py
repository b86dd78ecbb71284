"""The composition root: settings in, a running service out. Signals, deadlines and exit codes live here."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from service import context_file, tuning_file
from service.avro.messages import AvroReader, connect
from service.canary import Canary
from service.context import NO_CONTEXT, Context
from service.detect import Detector
from service.errors import Refused, SettingsError, Unreachable
from service.finding import JSON, Format
from service.intake import Intake, Topics
from service.kafka.clients import Reachability
from service.kafka.sink import AtLeastOnceSink, ExactlyOnceSink
from service.kafka.source import KafkaSource
from service.metrics import Metrics
from service.ocsf_finding import OCSF
from service.pipeline import Pipeline
from service.probes import Probes
from service.rules import EVERY_RULE
from service.screen import Screen
from service.settings import Settings
from service.tuning import UNTUNED, Tuning
from service.watchdog import LIMIT_SECONDS, Watchdog

EXIT_FAILED: Final = 1

STOP_SECONDS: Final = 20.0  # the pod's grace period is longer
_WATCH_SECONDS: Final = 5.0
_SLOW_SECONDS: Final = 15.0  # calls of the client last so long when brokers are away

_log: Final = structlog.get_logger("app")


class Service:
    """The parts, wired. `run` blocks until `stop` is set or the brokers refuse us."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event | None = None,
        tuning: Tuning = UNTUNED,
        context: Context = NO_CONTEXT,
    ) -> None:
        self.stop = stop or threading.Event()
        detector = Detector(EVERY_RULE, tuning)
        self.metrics = Metrics(detector.rules, settings.accounts.expected)
        self._settings = settings
        self._source = KafkaSource(
            settings.kafka,
            topic=settings.topics.events,
            observer=self.metrics,
        )
        outputs = settings.topics.written
        self._sink = (
            AtLeastOnceSink(settings.kafka, self._source, outputs, self.stop)
            if settings.delivery.mode == "at-least-once"
            else ExactlyOnceSink(settings.kafka, self._source, outputs, self.stop, self.metrics.replacements.inc)
        )
        self._registry = connect(settings.registry)
        key = settings.canary.key
        self._intake = Intake(
            detector,
            Topics(settings.topics.findings, settings.topics.dead_letters, settings.topics.staged),
            unwrap=AvroReader(self._registry, settings.registry).unwrap,
            limit=settings.limits.decompressed_bytes,
            context=context,
            canary=Canary(key.get_secret_value() if key else None, settings.topics.events),
            screen=Screen(detector.needles) if settings.detect.screen else None,
        )
        self._pipeline = Pipeline(
            source=self._source,
            sink=self._sink,
            intake=self._intake,
            observer=self.metrics,
            max_outputs=settings.limits.batch_messages,
            expected_accounts=settings.accounts.expected,
        )
        self._awaited: str | None = "the brokers"
        self._watchdog = Watchdog(lambda: self._pipeline.moved_at, Reachability(settings.kafka))
        # Last: it serves from here on, and asks all of the above.
        self.probes = Probes(
            settings.http.host,
            settings.http.port,
            live=self._live,
            ready=self.ready,
            metrics=self._metrics_text,
        )

    def run(self) -> None:
        """Raises Refused. The group is left on the way out."""
        try:
            self._connect()
            self._pipeline.run(self.stop)
        finally:
            self._sink.close()
            self._source.close()

    def close(self) -> None:
        self.probes.close()

    def _connect(self) -> None:
        told = set()
        while not self.stop.is_set():
            self._pipeline.moved()
            try:
                self._awaited = "the brokers"
                self._source.check()
                self._sink.check()
                self._awaited = "the schema registry"
                self._intake.format = self._format()
            except Unreachable as problem:
                if (self._awaited, type(problem)) not in told:
                    _log.warning(f"waiting for {self._awaited}", problem=str(problem))
                told.add((self._awaited, type(problem)))
                self.stop.wait(1)
            else:
                _log.info("connected", topic=self._settings.topics.events, mode=self._settings.delivery.mode)
                self._awaited = None
                return

    def _format(self) -> Format:
        """Raises Unreachable or Refused by the registry."""
        match self._settings.findings.format:
            case "ocsf":
                return OCSF
            case "avro" if self._registry is not None:
                from service.avro.findings import avro_findings  # noqa: PLC0415  fastavro, for those who write Avro

                return avro_findings(self._registry, self._settings.topics.findings)
            case _:
                return JSON

    def watch(self) -> None:
        """Blocks until the service is told to stop; ends the process if it hangs."""
        while not self.stop.wait(_WATCH_SECONDS):
            if self._watchdog.observe(time.monotonic()):
                _log.critical("the pipeline hangs though the brokers answer: ending the process")
                sys.stderr.flush()
                os._exit(EXIT_FAILED)

    def _live(self) -> str | None:
        still = self._watchdog.stalled_seconds
        return f"the pipeline hangs since {still:.0f} s" if still >= LIMIT_SECONDS else None

    def ready(self) -> str | None:
        if self._awaited:
            return f"waiting for {self._awaited}"
        if not self._source.joined:
            return "joining the consumer group"
        if not self._source.connected:
            return "no broker answers"
        if (still := time.monotonic() - self._pipeline.moved_at) > _SLOW_SECONDS:
            return f"no batch has ended for {still:.0f} s"
        return self._pipeline.trouble

    def _metrics_text(self) -> bytes:
        self.metrics.lags(self._source.lags())
        self.metrics.ready.set(self.ready() is None)
        return self.metrics.text()


def run(settings: Settings) -> int:
    """Run the service until SIGTERM or SIGINT. Returns the exit code. Raises SettingsError."""
    tuning = read_tuning(settings.tuning)
    context = context_file.read(settings.context) if settings.context else NO_CONTEXT
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        service = Service(settings, stop, tuning, context)
    except OSError as error:
        address = f"{settings.http.host}:{settings.http.port}"
        raise SettingsError([f"http.host, http.port: cannot serve on {address}: {error.strerror}"]) from error
    _log.info(
        "started",
        metrics=f"http://{settings.http.host}:{service.probes.port}/metrics",
        group=settings.kafka.group_id,
        mode=settings.delivery.mode,
    )
    codes: list[int] = []
    # A signal's handler runs only between client calls of its own thread, so the pipeline has another.
    worker = threading.Thread(target=lambda: codes.append(_guarded(service.run)), name="pipeline", daemon=True)
    worker.start()
    threading.Thread(target=service.watch, name="watchdog", daemon=True).start()
    stopped_at: float | None = None
    while worker.is_alive():
        worker.join(0.1)
        if stop.is_set():
            stopped_at = stopped_at or time.monotonic()
            if time.monotonic() - stopped_at > STOP_SECONDS:
                _log.error("the pipeline did not end in time; what was not committed will be read again")
                sys.stderr.flush()
                os._exit(EXIT_FAILED)
    service.close()
    code = codes[0] if codes else EXIT_FAILED
    _log.info("stopped", exit_code=code)
    return code


def read_tuning(path: Path | None) -> Tuning:
    """Raises SettingsError. A suppression that has expired is no reason not to start, at night least of all."""
    if path is None:
        return UNTUNED
    tuning = tuning_file.read(path)
    for suppression in tuning.expired(datetime.now(UTC).date()):
        _log.warning(
            "a suppression has expired and suppresses nothing",
            name=suppression.name,
            owner=suppression.owner,
            expired=suppression.expires.isoformat(),
        )
    return tuning


def _guarded(work: Callable[[], None]) -> int:
    try:
        work()
    except Refused as refusal:
        _log.error("refused", problem=str(refusal))
        return refusal.exit_code
    except Exception:  # noqa: BLE001  said once, in the log's own form
        _log.exception("the pipeline failed")
        return EXIT_FAILED
    return 0
