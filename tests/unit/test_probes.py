"""The probes' server, spoken to over real sockets."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse

import pytest

from service.probes import Probes

pytestmark = pytest.mark.timeout(30)

METRICS = b"tokentrail_messages_total 1.0\n"


@dataclass
class State:
    """What the probes answer; None is well."""

    live: str | None = None
    ready: str | None = None
    metrics: bytes = METRICS
    port: int = field(default=0)


@pytest.fixture(scope="module")
def served() -> Iterator[State]:
    state = State()
    probes = Probes(
        "127.0.0.1", 0, live=lambda: state.live, ready=lambda: state.ready, metrics=lambda: state.metrics
    )
    state.port = probes.port
    yield state
    probes.close()


@pytest.fixture
def state(served: State) -> State:
    """One server is enough; what it answers is new for each test."""
    served.live, served.ready, served.metrics = None, None, METRICS
    return served


def ask(state: State, path: str, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(
        "127.0.0.1", state.port, timeout=5
    )  # less than the server waits for a silent client
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz?verbose"])
def test_a_probe_that_is_well_says_ok(state: State, path: str) -> None:
    response, body = ask(state, path)
    assert (response.status, body) == (200, b"ok\n")


def test_a_probe_that_fails_says_why_and_the_others_do_not_care(state: State) -> None:
    state.ready = "waiting for the brokers"
    response, body = ask(state, "/readyz")
    assert (response.status, body) == (503, b"waiting for the brokers\n")
    assert ask(state, "/livez")[0].status == 200
    state.ready, state.live = None, "the pipeline hangs"
    assert ask(state, "/readyz")[0].status == 200
    assert ask(state, "/livez")[0].status == 503


def test_metrics_are_what_they_are_at_that_moment(state: State) -> None:
    response, body = ask(state, "/metrics")
    assert (response.status, body) == (200, state.metrics)
    assert (response.headers["Content-Type"] or "").startswith("text/plain; version=")
    state.metrics = b"tokentrail_messages_total 2.0\n"
    assert ask(state, "/metrics")[1] == state.metrics


@pytest.mark.parametrize("path", ["/", "/livez/", "/metrics/x", "/../metrics"])
def test_any_other_path_is_not_found(state: State, path: str) -> None:
    response, body = ask(state, path)
    assert response.status == 404
    assert path.encode() not in body.split()


@pytest.mark.parametrize(
    ("path", "status"), [("/livez", 200), ("/readyz", 503), ("/metrics", 200), ("/none", 404)]
)
def test_head_answers_as_get_without_the_body(state: State, path: str, status: int) -> None:
    state.ready = "joining"
    response, body = ask(state, path, "HEAD")
    assert (response.status, body) == (status, b"")
    assert int(response.headers["Content-Length"]) == len(ask(state, path)[1])


def test_other_methods_are_not_implemented(state: State) -> None:
    assert ask(state, "/metrics", "POST")[0].status == 501


def test_a_client_that_hangs_up_is_no_news(state: State, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither before its answer, which does not fit the socket's buffers, nor within its question."""
    state.metrics = b"x" * 20_000_000
    for question in (b"GET /metrics HTTP/1.0\r\n\r\n", b"GET /met", b""):
        with socket.create_connection(("127.0.0.1", state.port)) as client:
            client.sendall(question)
    state.metrics = b"still here\n"
    assert ask(state, "/metrics")[1] == b"still here\n"
    assert capfd.readouterr() == ("", "")


def test_a_silent_client_does_not_hold_up_the_others(state: State) -> None:
    with socket.create_connection(("127.0.0.1", state.port)) as silent:
        silent.sendall(b"GET /livez HTT")
        for _ in range(3):
            assert ask(state, "/livez")[0].status == 200


def test_garbage_is_answered_and_not_echoed_to_the_log(state: State, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", state.port), timeout=10) as client:
        client.sendall(b"\x16\x03\x01 \x1b[31mgarbage\r\n\r\n")
        assert b"400" in client.recv(1_000)
    assert capfd.readouterr() == ("", "")
    assert ask(state, "/livez")[0].status == 200


def test_a_port_that_is_taken_is_an_error(state: State) -> None:
    with pytest.raises(OSError, match="in use"):
        Probes("127.0.0.1", state.port, live=lambda: None, ready=lambda: None, metrics=lambda: b"")


def test_a_closed_server_gives_its_port_back() -> None:
    def serve(port: int) -> Probes:
        return Probes("127.0.0.1", port, live=lambda: None, ready=lambda: None, metrics=lambda: b"")

    first = serve(0)
    assert ask(State(port=first.port), "/livez")[0].status == 200
    first.close()
    with pytest.raises(ConnectionRefusedError):
        ask(State(port=first.port), "/livez")
    serve(first.port).close()


def test_it_listens_on_ipv6_too() -> None:
    try:
        probes = Probes("::1", 0, live=lambda: None, ready=lambda: None, metrics=lambda: b"")
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    connection = HTTPConnection("::1", probes.port, timeout=10)
    connection.request("GET", "/livez")
    assert connection.getresponse().status == 200
    connection.close()
    probes.close()
