"""The registry's client against a little server: what each failure becomes, and how often it is asked."""

import json
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from service.avro.registry import Registered, Registry
from service.errors import Refused, SchemaUnavailable, SettingsError, Unreachable
from service.settings import RegistrySettings
from tests.registry import Clock, FakeRegistry

SCHEMA = {"type": "record", "name": "R", "fields": [{"name": "eventName", "type": "string"}]}
Connect = Callable[..., Registry]


@pytest.fixture
def connect(server: FakeRegistry, clock: Clock) -> Iterator[Connect]:
    """A client of the server, with these settings."""
    made: list[Registry] = []

    def connected(**settings: Any) -> Registry:
        made.append(Registry(RegistrySettings(url=server.url, **settings), clock))
        return made[-1]

    yield connected
    for registry in made:
        registry.close()


# --- schemas by id -----------------------------------------------------------------------------


def test_a_schema_comes_by_its_id(server: FakeRegistry, connect: Connect) -> None:
    assert connect().by_id(server.add(SCHEMA)) == Registered("AVRO", json.dumps(SCHEMA))


def test_asking_leaves_no_line_in_the_log(
    server: FakeRegistry, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert connect().by_id(server.add(SCHEMA))
    assert caplog.messages == []


def test_an_id_the_registry_does_not_know_is_none(connect: Connect) -> None:
    registry = connect()
    assert registry.by_id(4_000_000_000) is None
    assert registry.failures == 0


def test_the_login_is_sent(server: FakeRegistry, connect: Connect) -> None:
    server.login = ("tokentrail", "a:secret")
    assert connect(username="tokentrail", password="a:secret").by_id(server.add(SCHEMA))


def test_references_come_before_those_who_use_them(server: FakeRegistry, connect: Connect) -> None:
    server.add('"one"', "one")
    server.add('"two"', "two", references=(("One", "one"),))
    used = server.add(SCHEMA, references=(("Two", "two"), ("One", "one")))
    found = connect().by_id(used)
    assert found is not None
    assert found.references == ('"one"', '"two"')


def test_a_schema_that_refers_to_itself_is_asked_for_once(server: FakeRegistry, connect: Connect) -> None:
    server.add('"self"', "self", references=(("Self", "self"),))
    found = connect().by_id(server.add(SCHEMA, references=(("Self", "self"),)))
    assert found is not None
    assert found.references == ('"self"',)
    assert server.requests.count("GET /subjects/self/versions/1") == 1


def test_endless_references_end(server: FakeRegistry, connect: Connect) -> None:
    for number in range(200):
        server.add(f'"{number}"', f"s{number}", references=((f"N{number}", f"s{number + 1}"),))
    connect().by_id(server.add(SCHEMA, references=(("N", "s0"),)))
    assert len(server.requests) < 60


# --- when it does not answer -------------------------------------------------------------------


def refuse(server: FakeRegistry, status: int) -> None:
    server.status = status


def html(server: FakeRegistry) -> None:
    server.body = b"<html>" + b"\x1b[31mnot a registry" * 10_000


def odd(server: FakeRegistry) -> None:
    server.body = b'["neither", "schema"]'


def deep(server: FakeRegistry) -> None:
    server.body = b"[" * 100_000


def slow(server: FakeRegistry) -> None:
    server.delay = 20


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (lambda server: refuse(server, 500), "status 500"),
        (lambda server: refuse(server, 503), "status 503"),
        (lambda server: refuse(server, 429), "status 429"),
        (lambda server: refuse(server, 404), "status 404"),  # no registry's own: it has codes for what it lacks
        (lambda server: refuse(server, 302), "status 302"),
        (html, "not a schema registry's"),
        (odd, "not a schema registry's"),
        (deep, "not a schema registry's"),
        (slow, "ReadTimeout"),
        (FakeRegistry.stop, "ConnectError"),
    ],
)
def test_what_is_no_answer_is_unavailable_in_a_short_line(
    server: FakeRegistry, connect: Connect, happens: Callable[[FakeRegistry], None], said: str
) -> None:
    registry = connect(timeout_seconds=1)
    known = server.add(SCHEMA)
    happens(server)
    with pytest.raises(SchemaUnavailable) as caught:
        registry.by_id(known)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    assert registry.failures == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_final_and_never_tells_the_password(
    server: FakeRegistry, connect: Connect, status: int
) -> None:
    server.status = status
    with pytest.raises(Refused) as caught:
        connect(username="tokentrail", password="secret").by_id(1)
    assert "refused" in str(caught.value) or "denied" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_after_a_failure_it_is_asked_after_a_pause_that_grows(
    server: FakeRegistry, connect: Connect, clock: Clock
) -> None:
    registry = connect()
    server.status = 500
    for pause in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        for _ in range(3):
            with pytest.raises(SchemaUnavailable, match="status 500"):
                registry.by_id(1)
        clock.now += pause - 0.01
        with pytest.raises(SchemaUnavailable):
            registry.by_id(1)
        clock.now += 0.02
    assert len(server.requests) == registry.failures == 6


def test_an_outage_of_a_day_stays_an_outage(server: FakeRegistry, connect: Connect, clock: Clock) -> None:
    registry = connect()
    server.stop()
    for _ in range(1_200):
        with pytest.raises(SchemaUnavailable):
            registry.by_id(1)
        clock.now += 60
    assert registry.failures == 1_200


def test_once_it_answers_all_is_forgotten(server: FakeRegistry, connect: Connect, clock: Clock) -> None:
    registry = connect()
    known = server.add(SCHEMA)
    server.stop()
    for _ in range(5):
        with suppress(SchemaUnavailable):
            registry.by_id(known)
        clock.now += 60
    server.start()
    assert registry.by_id(known)
    assert registry.failures == 0


# --- the schema of findings --------------------------------------------------------------------


def test_a_schema_is_registered_once_under_its_subject(server: FakeRegistry, connect: Connect) -> None:
    found = connect().subject_id("findings-value", json.dumps(SCHEMA))
    assert connect().subject_id("findings-value", json.dumps(SCHEMA)) == found
    assert server.subjects == {"findings-value": [found]}


def test_without_auto_register_the_schema_has_to_be_there(server: FakeRegistry, connect: Connect) -> None:
    registry = connect(auto_register=False)
    with pytest.raises(Refused, match=r"subject findings-value: .*registry\.auto_register is off"):
        registry.subject_id("findings-value", json.dumps(SCHEMA))
    assert server.subjects == {}
    there = server.add(SCHEMA, "findings-value")
    assert registry.subject_id("findings-value", json.dumps(SCHEMA)) == there


def test_an_incompatible_schema_is_refused_in_a_line_that_names_the_subject(
    server: FakeRegistry, connect: Connect
) -> None:
    server.add({**SCHEMA, "fields": [{"name": "eventName", "type": "int"}]}, "findings-value")
    with pytest.raises(Refused, match=r"^schema registry, subject findings-value: .* not compatible") as caught:
        connect(username="u", password="secret").subject_id("findings-value", json.dumps(SCHEMA))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_refuses_the_schema_of_findings(
    server: FakeRegistry, connect: Connect, status: int
) -> None:
    server.status = status
    with pytest.raises(Refused):
        connect().subject_id("findings-value", json.dumps(SCHEMA))


def test_at_the_start_a_registry_that_is_away_is_unreachable(server: FakeRegistry, connect: Connect) -> None:
    server.stop()
    with pytest.raises(Unreachable, match="ConnectError"):
        connect().subject_id("findings-value", json.dumps(SCHEMA))


# --- certificates, and no server at all --------------------------------------------------------


def test_a_registry_is_trusted_by_the_certificate_that_is_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FakeRegistry(tls=context) as server:
        known = server.add(SCHEMA)
        trusting = Registry(RegistrySettings(url=server.url, ca_location=str(tmp_path / "ca.pem")))
        assert trusting.by_id(known)
        trusting.close()
        wary = Registry(RegistrySettings(url=server.url))
        with pytest.raises(SchemaUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            wary.by_id(known)
        wary.close()


def test_a_certificate_that_cannot_be_read_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"registry\.ca_location"):
        Registry(RegistrySettings(url="https://127.0.0.1", ca_location=str(tmp_path / "none.pem")))


def test_the_clients_own_mock_serves_where_there_is_no_server() -> None:
    registry = Registry(RegistrySettings.model_construct(url="mock://embedded"))
    found = registry.subject_id("findings-value", json.dumps(SCHEMA))
    assert registry.by_id(found) == Registered("AVRO", json.dumps(SCHEMA))
