"""A TCP proxy before a server, for tests of bad networks: it cuts, delays and holds what passes."""

import socket
import threading
import time
from contextlib import suppress
from typing import Self

CHUNK = 65_536


class Proxy:
    """Passes connections from `port` on to `target`, both on loopback, from its start until `close`.

    Faults may be set at any time, from any thread: `delay` is in seconds, for each chunk; while `refusing`,
    new connections are closed at once.
    """

    def __init__(self, port: int, target: int) -> None:
        self.delay = 0.0
        self.refusing = False
        self._target = target
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port))
        self._acceptor = threading.Thread(target=self._accept, name=f"proxy {port}", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cut(self) -> None:
        """End every connection."""
        with self._lock:
            for end in self._open:
                _hang_up(end)

    def hold(self) -> None:
        """Connections stay and nothing passes, until `release`."""
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self.refusing = True
        self.release()
        _hang_up(self._listener)  # wakes the thread that waits in `accept`
        self._acceptor.join()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target), 5) as server:
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self.refusing:
                    return
                self._open |= {client, server}
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump(client, server)
            back.join()
            with self._lock:
                self._open -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                time.sleep(self.delay)
                self._flowing.wait()
                sink.sendall(chunk)
        _hang_up(source)
        _hang_up(sink)


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
