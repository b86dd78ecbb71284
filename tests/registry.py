"""A schema registry for tests: a real HTTP server on loopback that speaks what we use of Confluent's REST API.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

import base64
import json
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.broker import free_ports

Answer = tuple[int, Any]


class Clock:
    """The time of a client of the registry: it stands still, save where a test moves it."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeRegistry:
    """Its fields may be changed while it runs. After `stop`, `start` brings it back on its port, with its data."""

    login: tuple[str, str] | None = None  # asked of every request
    status: int | None = None  # answered to every request, whatever it asks
    body: bytes | None = None  # answered in place of JSON
    delay: float = 0.0  # seconds before an answer
    tls: ssl.SSLContext | None = None
    port: int = field(default_factory=lambda: free_ports(1)[0])
    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)  # id -> as the registry answers
    subjects: dict[str, list[int]] = field(default_factory=dict)  # subject -> ids, by version
    requests: list[str] = field(default_factory=list)  # method and path
    _server: ThreadingHTTPServer | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def add(
        self,
        schema: object,
        subject: str = "events-value",
        kind: str = "AVRO",
        references: tuple[tuple[str, str], ...] = (),
    ) -> int:
        """The id of a schema, a text or what JSON it is; `references` are names and subjects, at version 1."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        entry: dict[str, Any] = {"schema": text, "schemaType": kind}
        if references:
            entry["references"] = [{"name": name, "subject": where, "version": 1} for name, where in references]
        schema_id = next((known for known, held in self.schemas.items() if held == entry), len(self.schemas) + 1)
        self.schemas[schema_id] = entry
        versions = self.subjects.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return schema_id

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self, self._stopping))
        self._server.daemon_threads = True
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, method: str, path: str, body: Mapping[str, Any]) -> Answer:
        for pattern, call in _CALLS:
            if found := pattern.fullmatch(f"{method} {path}"):
                return call(self, {name: unquote(text) for name, text in found.groupdict().items()}, body)
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}


# --- the calls -------------------------------------------------------------------------------------


def _by_id(registry: FakeRegistry, named: Mapping[str, str], _: Mapping[str, Any]) -> Answer:
    found = registry.schemas.get(int(named["id"]))
    return (200, found) if found else (404, {"error_code": 40403, "message": f"Schema {named['id']} not found"})


def _by_version(registry: FakeRegistry, named: Mapping[str, str], _: Mapping[str, Any]) -> Answer:
    versions = registry.subjects.get(named["subject"], [])
    number = int(named["version"])
    if not 1 <= number <= len(versions):
        return 404, {"error_code": 40402, "message": f"Version {number} not found."}
    schema_id = versions[number - 1]
    return 200, {"subject": named["subject"], "version": number, "id": schema_id, **registry.schemas[schema_id]}


def _register(registry: FakeRegistry, named: Mapping[str, str], body: Mapping[str, Any]) -> Answer:
    if not _compatible(registry, named["subject"], body):
        return 409, {"error_code": 409, "message": f"Schema being registered is incompatible: {body['schema']}"}
    return 200, {"id": registry.add(body["schema"], named["subject"])}


def _look_up(registry: FakeRegistry, named: Mapping[str, str], body: Mapping[str, Any]) -> Answer:
    for version, schema_id in enumerate(registry.subjects.get(named["subject"], []), start=1):
        entry = registry.schemas[schema_id]
        if json.loads(entry["schema"]) == json.loads(body["schema"]):
            return 200, {"subject": named["subject"], "version": version, "id": schema_id, **entry}
    return 404, {"error_code": 40403, "message": "Schema not found"}


def _is_compatible(registry: FakeRegistry, named: Mapping[str, str], body: Mapping[str, Any]) -> Answer:
    return 200, {"is_compatible": _compatible(registry, named["subject"], body)}


def _compatible(registry: FakeRegistry, subject: str, body: Mapping[str, Any]) -> bool:
    """BACKWARD, as far as a record's own fields: one that is new needs a default, one that stays its type."""
    versions = registry.subjects.get(subject)
    if not versions:
        return True
    old = json.loads(registry.schemas[versions[-1]]["schema"])
    before = {each["name"]: each["type"] for each in old["fields"]}
    return all(
        each["type"] == before[each["name"]] if each["name"] in before else "default" in each
        for each in json.loads(body["schema"])["fields"]
    )


_CALLS = (
    (re.compile(r"GET /schemas/ids/(?P<id>\d+)"), _by_id),
    (re.compile(r"GET /subjects/(?P<subject>[^/]+)/versions/(?P<version>\d+)"), _by_version),
    (re.compile(r"POST /subjects/(?P<subject>[^/]+)/versions"), _register),
    (re.compile(r"POST /subjects/(?P<subject>[^/]+)"), _look_up),
    (re.compile(r"POST /compatibility/subjects/(?P<subject>[^/]+)/versions/latest"), _is_compatible),
)


def _handler(registry: FakeRegistry, stopping: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """HTTP/1.0, so that a server that was stopped does not go on over connections that are open."""

        def do_GET(self) -> None:
            self._respond({})

        def do_POST(self) -> None:
            self._respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _respond(self, body: Mapping[str, Any]) -> None:
            path = urlsplit(self.path).path
            registry.requests.append(f"{self.command} {path}")
            stopping.wait(registry.delay)
            status, answer = self._decide(path, body)
            content = registry.body if registry.body is not None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _decide(self, path: str, body: Mapping[str, Any]) -> Answer:
            if registry.login is not None:
                expected = base64.b64encode(":".join(registry.login).encode()).decode()
                if self.headers["Authorization"] != f"Basic {expected}":
                    return 401, {"error_code": 401, "message": "Unauthorized"}
            if registry.status is not None:
                return registry.status, {"error_code": registry.status, "message": "as the test wants"}
            return registry.answer(self.command, path, body)

        def log_message(self, *_: object) -> None:
            """Tests keep their output to themselves."""

    return Handler
