"""A TCP proxy that does to answers what bad networks and busy servers do.

    with FaultProxy(web.port) as proxy:
        proxy.faults = [Drop(after=1000), Answer(503, {"Retry-After": "1"}), Stall(after=5)]
        … proxy.url("a.bin") …

Each request, on a connection of its own, meets the next fault of the list; those after the end pass
untouched. Positions count bytes of the body. Over TLS (`raw=True`) nothing can be told apart: there
each connection meets a fault, and positions count whatever the server sends.
"""

import contextlib
import random
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

BLOCK = 2**16


@dataclass
class Fault:
    """Nothing happens.

    Attributes:
        first: Called before the request goes on, for example to change the file.
    """

    first: Callable[[], object] | None = field(default=None, kw_only=True)


@dataclass
class Drop(Fault):
    """The connection ends after so many bytes: reset, or closed in good order."""

    after: int = 0
    reset: bool = True


@dataclass
class Stall(Fault):
    """Nothing more comes after so many bytes; the connection stays."""

    after: int = 0


@dataclass
class Answer(Fault):
    """The proxy answers itself."""

    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Length(Fault):
    """The Content-Length is wrong by so many bytes, and the connection ends after the body."""

    by: int = 0


@dataclass
class Flip(Fault):
    """The byte at a position of the body arrives as another."""

    at: int = 0


@dataclass
class Garbage(Fault):
    """The answer is not HTTP, nor TLS."""


@dataclass
class Slow(Fault):
    """A pause of so many seconds after each block."""

    pause_s: float = 0.001
    block: int = 2**14


def random_faults(seed: int, size: int) -> Iterator[Fault]:
    """Drops and truncations at random bytes, with answers of a busy server in between."""
    rng = random.Random(seed)
    while True:
        yield rng.choice([
            Drop(after=rng.randrange(size), reset=True),
            Drop(after=rng.randrange(size), reset=False),
            Drop(after=rng.randrange(2**14), reset=bool(rng.randrange(2))),
            Answer(rng.choice([429, 500, 502, 503, 504]), {"Retry-After": "0"}),
            Stall(after=rng.randrange(size)),
        ])  # fmt: skip


class FaultProxy:
    """Listens on the loopback; every connection has a thread."""

    def __init__(self, upstream: int, *, raw: bool = False) -> None:
        self.faults: Iterable[Fault] = []
        self.met: list[Fault] = []
        self._upstream, self._raw = upstream, raw
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()

    def url(self, path: str, *, host: str = "127.0.0.1") -> str:
        """Where a file of the server lies, through this proxy."""
        return f"http{'s' if self._raw else ''}://{host}:{self.port}/{path}"

    def pass_on(self, client: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere, untouched."""
        with contextlib.suppress(OSError):
            self._pass_on(client, b"", Fault())

    def _next(self) -> Fault:
        with self._lock:
            if not isinstance(self.faults, Iterator):
                self.faults = iter(self.faults)
            fault = next(self.faults, Fault())
            self.met.append(fault)
        if fault.first:
            fault.first()
        return fault

    def _accept(self) -> None:
        while not self._ended.is_set():
            if select.select([self._listener], [], [], 0.05)[0]:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(30)
            request = b"" if self._raw else _head(client)
            if not self._raw and not request:
                return
            fault = self._next()
            if isinstance(fault, Garbage):
                client.sendall(b"\x00 neither of them\r\n\r\n")
            elif isinstance(fault, Answer):
                client.sendall(_answer(fault))
            else:
                self._pass_on(client, request, fault)

    def _pass_on(self, client: socket.socket, request: bytes, fault: Fault) -> None:
        with socket.create_connection(("127.0.0.1", self._upstream), timeout=30) as server:
            if self._raw:
                body: Iterator[bytes] = self._both_ways(client, server)
            else:
                server.sendall(_closing(request))
                head = _head(server)
                if isinstance(fault, Length):
                    head = _longer(head, fault.by)
                client.sendall(head)
                body = iter(lambda: server.recv(BLOCK), b"")
            self._relay(client, body, fault)

    def _relay(self, client: socket.socket, body: Iterator[bytes], fault: Fault) -> None:
        sent = 0
        limit = fault.after if isinstance(fault, Drop | Stall) else None
        for data in body:
            if isinstance(fault, Flip) and sent <= fault.at < sent + len(data):
                at = fault.at - sent
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            if limit is not None:
                data = data[: limit - sent]
            step = fault.block if isinstance(fault, Slow) else len(data) or 1
            for begin in range(0, len(data), step):
                client.sendall(data[begin : begin + step])
                if isinstance(fault, Slow) and self._ended.wait(fault.pause_s):
                    return
            sent += len(data)
            if limit is not None and sent >= limit:
                break
        if isinstance(fault, Stall):
            self._until_gone(client)
        if isinstance(fault, Drop) and fault.reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _until_gone(self, client: socket.socket) -> None:
        while not self._ended.is_set():
            if select.select([client], [], [], 0.05)[0] and not client.recv(BLOCK):
                return

    def _both_ways(self, client: socket.socket, server: socket.socket) -> Iterator[bytes]:
        """Hand on what the client sends; give what the server sends."""
        while not self._ended.is_set():
            ready, _, _ = select.select([client, server], [], [], 0.05)
            for one in ready:
                data = one.recv(BLOCK)
                if not data:
                    return
                if one is client:
                    server.sendall(data)
                else:
                    yield data


def _head(connection: socket.socket) -> bytes:
    """Up to the empty line, byte by byte, so that none of the body is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def _closing(request: bytes) -> bytes:
    """A request after which the server closes the connection."""
    lines = [line for line in request.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([lines[0], b"Connection: close", *lines[1:]])


def _longer(head: bytes, by: int) -> bytes:
    lines = head.split(b"\r\n")
    for number, line in enumerate(lines):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            lines[number] = b"%s: %d" % (name, int(value) + by)
    return b"\r\n".join(lines)


def _answer(fault: Answer) -> bytes:
    headers = {"Content-Length": len(fault.body), "Connection": "close", **fault.headers}
    lines = [f"HTTP/1.1 {fault.status} Told", *(f"{name}: {v}" for name, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + fault.body
