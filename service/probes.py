"""/livez, /readyz and /metrics on one port, from threads of their own."""

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST

# A probe says why it fails, or None when all is well.
Probe = Callable[[], str | None]

_TEXT: Final = "text/plain; charset=utf-8"


class Probes:
    """Serves until closed. Raises OSError when the address cannot be had."""

    def __init__(self, host: str, port: int, *, live: Probe, ready: Probe, metrics: Callable[[], bytes]) -> None:
        handler = _handler({"/livez": live, "/readyz": ready}, metrics)
        self._server = _Server((host, port), handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up early is no news."""


def _handler(probes: dict[str, Probe], metrics: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "tokentrail"
        sys_version = ""
        timeout = 10  # seconds a silent client may hold a thread

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, metrics(), CONTENT_TYPE_LATEST)
            elif path in probes:
                problem = probes[path]()
                self._answer(503 if problem else 200, f"{problem or 'ok'}\n".encode(), _TEXT)
            else:
                self._answer(404, b"there are /livez, /readyz and /metrics\n", _TEXT)

        do_HEAD = do_GET  # noqa: N815  the name is http.server's

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
            """Probes every few seconds are no news."""

    return Handler
