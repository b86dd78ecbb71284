"""The real program against a Kafka that asks who is there: what works, and what is said when it does not."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.broker import ROOT, poll_until
from tests.running import feed, read, record
from tests.secured import (
    NEEDS,
    PASSWORD,
    USER,
    Environment,
    Need,
    SecuredBroker,
    Tenant,
    callback,
    mutual_tls,
    password,
    tls,
    token,
)

WRONG_PASSWORD = "battery-staple"
# No password, no key, no token (each of which begins so) in anything the program prints.
SECRETS = (PASSWORD, WRONG_PASSWORD, "PRIVATE KEY", "eyJ")


class Program:
    """`tokentrail run` with that environment alone; its output is JSON lines in a file."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service", "run", "--http-host", "127.0.0.1", "--http-port", "0"],
                env={**kept, **environment},
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )

    def entries(self, event: str) -> list[dict[str, Any]]:
        """What the log says of an event, so far."""
        whole = self._log.read_text().rpartition("\n")[0]
        entries = [json.loads(line) for line in whole.splitlines()]
        return [entry for entry in entries if entry["event"] == event]

    def readiness(self) -> int:
        (started,) = self.entries("started")
        try:
            address = started["metrics"].replace("metrics", "readyz")
            with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310  the program's own, on loopback
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)

    def output(self) -> str:
        return self._log.read_text()


@contextmanager
def running(environment: Mapping[str, str], folder: Path) -> Iterator[Program]:
    program = Program(environment, folder / "program.log")
    try:
        yield program
    finally:
        program.process.kill()
        program.process.wait()
    assert not [secret for secret in SECRETS if secret in program.output()]


def login(broker: SecuredBroker, mode: str, folder: Path) -> tuple[str, Environment]:
    """The user a login makes one, and its settings."""
    if mode == "tls":
        return "ANONYMOUS", tls(broker)
    if mode == "mutual TLS":
        return USER, mutual_tls(broker, broker.certificates.client)
    if mode in {"PLAIN", "SCRAM-SHA-512"}:
        broker.add_scram_user(USER, PASSWORD)
        return USER, password(broker, mode)
    if mode == "OAUTHBEARER":
        return USER, token(broker, f"principal={USER}")
    return USER, callback(broker, folder, USER)


def finds(program: Program, broker: SecuredBroker, tenant: Tenant, event_id: str, count: int = 1) -> None:
    """The event's finding, the `count`-th in its topic, is there."""
    feed(broker, tenant.events, [(0, record(event_id))])
    finding = read(broker, tenant.findings, count)[-1]
    assert json.loads(finding.value() or b"")["event_id"] == event_id, program.output()


@pytest.mark.parametrize(
    "mode", ["tls", "mutual TLS", "PLAIN", "SCRAM-SHA-512", "OAUTHBEARER", "a callback's token"]
)
def test_a_finding_is_published_with_the_access_the_readme_asks_for(
    secured: SecuredBroker, mode: str, tmp_path: Path
) -> None:
    user, environment = login(secured, mode, tmp_path)
    tenant = secured.tenant(user)
    secured.allow(user, tenant.needs())
    with running({**environment, **tenant.environment()}, tmp_path) as program:
        finds(program, secured, tenant, "e-1")
        assert program.readiness() == 200
        assert program.stop() == 0


def test_at_least_once_needs_no_transactional_id(secured: SecuredBroker, tmp_path: Path) -> None:
    tenant = secured.tenant()
    secured.allow(tenant.user, [need for need in tenant.needs() if need.resource != "transactional id"])
    environment = {**token(secured, f"principal={tenant.user}"), "TOKENTRAIL_DELIVERY__MODE": "at-least-once"}
    with running({**environment, **tenant.environment()}, tmp_path) as program:
        finds(program, secured, tenant, "e-1")
        assert program.stop() == 0


@pytest.mark.long
def test_a_login_is_renewed_while_findings_go_on(secured: SecuredBroker, tmp_path: Path) -> None:
    tenant = secured.tenant()
    secured.allow(tenant.user, tenant.needs())
    environment = callback(secured, tmp_path, tenant.user, valid_for=20)
    with running({**environment, **tenant.environment()}, tmp_path) as program:
        finds(program, secured, tenant, "e-1")
        first_tokens_end = time.monotonic() + 20
        # The broker ends connections whose token is over.
        poll_until(lambda: time.monotonic() > first_tokens_end + 5, "tokens of the second generation", 40)
        finds(program, secured, tenant, "e-2", count=2)
        assert not program.entries("refused")
        assert program.stop() == 0


REFUSED_LOGINS: dict[str, tuple[Callable[[SecuredBroker, Path], Environment], str]] = {
    "a wrong password for SCRAM": (
        lambda broker, _: password(broker, "SCRAM-SHA-512", WRONG_PASSWORD),
        "SASL authentication error: .*invalid credentials .*SCRAM-SHA-512",
    ),
    "a wrong password for PLAIN": (
        lambda broker, _: password(broker, "PLAIN", WRONG_PASSWORD),
        "SASL authentication error: .*Invalid username or password",
    ),
    "a mechanism they have not": (
        lambda broker, _: password(broker, "SCRAM-SHA-256"),
        "SASL SCRAM-SHA-256 mechanism handshake failed: .*Unsupported SASL mechanism",
    ),
    "a token without its claim": (
        lambda broker, _: token(broker, f"principalClaimName=azp principal={USER}"),
        "SASL authentication error: .*invalid_token",
    ),
    "an expired token": (
        lambda broker, folder: callback(broker, folder, USER, valid_for=-30, told_to_last=900),
        "SASL authentication error: .*invalid_token",
    ),
}


@pytest.mark.parametrize("wrong", REFUSED_LOGINS)
def test_a_refused_login_ends_the_program_with_one_line(
    secured: SecuredBroker, wrong: str, tmp_path: Path
) -> None:
    secured.add_scram_user(USER, PASSWORD)
    make, line = REFUSED_LOGINS[wrong]
    environment = make(secured, tmp_path)
    with running(environment, tmp_path) as program:
        assert program.process.wait(30) == 3
    (said,) = program.entries("refused")
    assert re.match(rf"the brokers refuse us: sasl_ssl://127\.0\.0\.1:\d+: {line}", said["problem"])
    assert program.output().count("\n") == 3, "nothing but started, refused, stopped"


@pytest.mark.parametrize("wrong", ["authority", "no certificate", "expired certificate"])
def test_a_certificate_nobody_trusts_is_told_once_and_waited_out(
    secured: SecuredBroker, wrong: str, tmp_path: Path
) -> None:
    """A broker's certificate may be replaced: the program stays, unready, until it can connect."""
    environment, line = {
        "authority": (
            tls(secured, secured.certificates.strange_authority),
            "the broker's certificate cannot be trusted: is ssl.ca.location",
        ),
        "no certificate": (
            mutual_tls(secured, None),
            "the broker does not take our certificate (bad certificate): are ssl.certificate.location",
        ),
        "expired certificate": (
            mutual_tls(secured, secured.certificates.expired_client),
            "the broker does not take our certificate (certificate unknown): are ssl.certificate.location",
        ),
    }[wrong]
    with running(environment, tmp_path) as program:
        (said,) = poll_until(lambda: program.entries("waiting for the brokers"), "a line on the certificate")
        assert line in said["problem"]
        assert program.readiness() == 503
        assert program.stop() == 0
    assert program.output().count("\n") == 3, "nothing but started, waiting, stopped"


def without(needs: list[Need], denied: Need) -> list[Need]:
    return [need for need in needs if need != denied]


def only_described(needs: list[Need], denied: Need) -> list[Need]:
    """It is seen, but cannot be used."""
    return [replace(need, operations=("DESCRIBE",)) if need == denied else need for need in needs]


@pytest.mark.parametrize("take", [without, only_described])
@pytest.mark.parametrize("index", range(len(NEEDS)), ids=[f"{need.resource} {need.name}" for need in NEEDS])
def test_a_denied_access_ends_the_program_with_a_line_that_names_it(
    secured: SecuredBroker, index: int, take: Any, tmp_path: Path
) -> None:
    tenant = secured.tenant()
    needs = tenant.needs()
    secured.allow(tenant.user, take(needs, needs[index]))
    feed(secured, tenant.events, [(0, record("e-1")), (0, b"not CloudTrail")])
    environment = token(secured, f"principal={tenant.user}")
    with running({**environment, **tenant.environment()}, tmp_path) as program:
        assert program.process.wait(30) == 3, program.output()
    (said,) = program.entries("refused")
    assert needs[index].name in said["problem"]
    assert "authorization failed" in said["problem"]


def test_the_readme_lists_the_access_that_was_tested() -> None:
    section = (ROOT / "README.md").read_text().partition("\n## Access control\n")[2].partition("\n## ")[0]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in section.splitlines()]
    table = [row for row in rows if len(row) == 4]
    assert table[0] == ["resource", "name", "pattern", "operations"]
    assert [tuple(row) for row in table[2:]] == [
        (need.resource, need.name, need.pattern, ", ".join(need.operations)) for need in NEEDS
    ]
