"""A forward proxy on the loopback: relays http, tunnels https, and remembers what it was asked for.

    with ForwardProxy(names={"archive.test": web.port}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        … https://archive.test/a.bin …          # a name that only the proxy knows
        proxy.asked                             # ["CONNECT archive.test:443"]

nginx cannot stand in for it: it has no CONNECT, and takes a request meant for another for its own.
"""

import base64
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

from tests.fault_proxy import FaultProxy


class ForwardProxy:
    """Every connection has a thread.

    Attributes:
        names: Ports of the loopback by the host that they stand for, or by `host:port`; hosts that
            are not named cannot be reached from here.
        password: Whoever has none is told so (407), if there is one; the user is `me`.
        asked: Method and target of each request, in their order.
        secrets: The headers Authorization and Proxy-Authorization that came, empty ones left out.
    """

    def __init__(self, names: Mapping[str, int], password: str = "") -> None:
        self.names, self.password = names, password
        self.asked: list[str] = []
        self.secrets: list[str] = []
        self._tunnels: list[FaultProxy] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_GET(self) -> None:
                outer.serve(self)

            do_CONNECT = do_POST = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """For the environment, with the password."""
        user = f"me:{self.password}@" if self.password else ""
        return f"http://{user}127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        for tunnel in self._tunnels:  # a client may keep its own for later
            tunnel.__exit__()
        self._server.server_close()
        self._thread.join()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """One request; its connection ends with it."""
        handler.close_connection = True
        self.asked.append(f"{handler.command} {handler.path}")
        sent = [handler.headers.get(n, "") for n in ("Authorization", "Proxy-Authorization")]
        self.secrets += filter(None, sent)
        known = base64.b64encode(f"me:{self.password}".encode()).decode()
        if self.password and sent[1] != f"Basic {known}":
            handler.send_error(407)
            return
        tunnels = handler.command == "CONNECT"
        parts = urlsplit(f"//{handler.path}" if tunnels else handler.path)
        port = self.names.get(parts.netloc) or self.names.get(parts.hostname or "")
        if port is None:
            handler.send_error(502)
        elif tunnels:
            handler.send_response(200)
            handler.end_headers()
            with FaultProxy(port, raw=True) as relay:
                self._tunnels.append(relay)
                relay.pass_on(handler.connection)
        else:
            _relay(handler, port, parts.path + (f"?{parts.query}" if parts.query else ""))


def _relay(handler: BaseHTTPRequestHandler, port: int, path: str) -> None:
    """Ask the server itself, without what is meant for the proxy, and hand its answer on."""
    own = ("proxy-", "connection", "keep-alive")
    lines = [f"{handler.command} {path} HTTP/1.1", "Connection: close"]
    lines += [f"{n}: {v}" for n, v in handler.headers.items() if not n.lower().startswith(own)]
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as server:
        server.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        while data := server.recv(2**16):
            handler.wfile.write(data)
