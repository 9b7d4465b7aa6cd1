"""A real web server for tests: Debian's nginx on the loopback, with a configuration of its own.

A test takes the fixture `web` (`start` and `stop` serve those that need more than one):

    web.put("a.bin", data)          # a file, in place at once
    web.url("a.bin")                # http://127.0.0.1:<port>/a.bin
    web.url("a.bin", host="localhost")        # the same file at what counts as another host
    web.url("a.bin", tls=True)      # https with a certificate of web.authority
    web.requests()                  # what was asked for so far, tokens included

Below these folders the same files behave otherwise:

    /private/       401 without the bearer token TOKEN
    /login/         without TOKEN a redirect to a login page (HTML) on another host
    /away/          a redirect to the same file on another host (localhost)
    /here/          a redirect to the same file on this host, after two more of them
    /port/          a redirect to the same file on another port
    /plain-http/    a redirect from https to http
    /loop/          a redirect to itself
    /whole/         no ranges: they are ignored
    /unmarked/      neither ETag nor Last-Modified
    /chunked/       no Content-Length; chunked
    /unending/      no Content-Length; the end of the connection is the end of the file
    /zipped/        Content-Encoding gzip (put <name>.gz), whatever was asked for
    /page/          the file called text/html
    /slow/          1 MB a second
    /tiles?name=x   the file x, named in the query
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import trustme

TOKEN = "Zm9yYmlkZGVuLXRvLWxlYXZl.token-of-tests"  # in no log, file or error text
LOGIN_PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"

CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
  types {{ text/html html; application/json json; }}
  default_type application/octet-stream;
  client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
  uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
  log_format lines escape=json '{{"method":"$request_method","uri":"$request_uri",'
    '"status":$status,"host":"$host","port":"$server_port","scheme":"$scheme",'
    '"range":"$http_range","if_range":"$http_if_range","authorization":"$http_authorization",'
    '"encoding":"$http_accept_encoding","cookie":"$http_cookie","sent":$body_bytes_sent}}';
  access_log {folder}/access.log lines;
  sendfile on;
  keepalive_timeout 5s;
  lingering_close off;
  map $http_authorization $known {{ default 0; "Bearer {token}" 1; }}
  server {{
    listen 127.0.0.1:{http}; listen 127.0.0.1:{other}; listen 127.0.0.1:{tls} ssl;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
    root {folder}/files;
    location / {{ }}
    location = /settled {{ access_log off; return 204; }}
    location /private/ {{ if ($known = 0) {{ return 401; }} alias {folder}/files/; }}
    location ~ ^/login/(.*)$ {{
      if ($known = 0) {{ return 302 http://localhost:{http}/login.html?next=$1; }}
      alias {folder}/files/$1;
    }}
    location = /login.html {{ default_type text/html; return 200 '{page}'; }}
    location ~ ^/away/(.*)$ {{ return 302 http://localhost:{http}/$1$is_args$args; }}
    location ~ ^/here/(.*)$ {{ return 302 /here2/$1; }}
    location ~ ^/here2/(.*)$ {{ return 307 $scheme://$host:$server_port/private/$1; }}
    location ~ ^/port/(.*)$ {{ return 302 http://127.0.0.1:{other}/$1; }}
    location ~ ^/plain-http/(.*)$ {{ return 302 http://$host:{http}/$1; }}
    location /loop/ {{ return 302 $request_uri; }}
    location /whole/ {{ max_ranges 0; alias {folder}/files/; }}
    location /unmarked/ {{ etag off; add_header Last-Modified ""; alias {folder}/files/; }}
    location /chunked/ {{ alias {folder}/files/; {no_length} }}
    location /unending/ {{
      alias {folder}/files/; chunked_transfer_encoding off; {no_length}
    }}
    location /zipped/ {{ gzip_static always; alias {folder}/files/; }}
    location /page/ {{ types {{ }} default_type text/html; alias {folder}/files/; }}
    location /slow/ {{ limit_rate 1m; alias {folder}/files/; }}
    location /tiles {{ try_files /$arg_name =404; }}
  }}
}}
"""
# A filter that might change the length, so that nginx does not tell it.
NO_LENGTH = "sub_filter_types *; sub_filter 'never to be found in a test' '';"


@dataclass
class Web:
    """A running server.

    Attributes:
        folder: Everything of it.
        port: Of http; `other_port` serves the same, and `tls_port` by https.
        authority: A PEM file that signs its certificate, for REQUESTS_CA_BUNDLE.
    """

    folder: Path
    port: int
    other_port: int
    tls_port: int
    authority: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    _seconds: Iterator[int] = field(default_factory=lambda: count(1_700_000_000), repr=False)

    def url(
        self, path: str, *, host: str = "127.0.0.1", tls: bool = False, port: int | None = None
    ) -> str:
        """Where a file lies."""
        port = port or (self.tls_port if tls else self.port)
        return f"{'https' if tls else 'http'}://{host}:{port}/{path}"

    def put(self, name: str, data: bytes, *, mtime: float | None = None) -> Path:
        """A file to serve; one that is there is replaced at once, with another ETag."""
        path = self.folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(data)
        # nginx's ETag is made of the size and the second of the change.
        mtime = next(self._seconds) if mtime is None else mtime
        os.utime(temporary, (mtime, mtime))
        temporary.replace(path)
        return path

    def etag(self, name: str) -> str:
        """Of a file, as this server makes it."""
        status = (self.folder / "files" / name).stat()
        return f'"{int(status.st_mtime):x}-{status.st_size:x}"'

    def requests(self) -> list[dict[str, Any]]:
        """What was asked for and answered, in the order of the answers' ends."""
        self._settle()
        log = self.folder / "access.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def _settle(self) -> None:
        """Wait until answers that have come are in the log: it is written after their last byte.

        The server does one thing after the other: what it is asked for now comes after that.
        """
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 30) as one:
            one.sendall(b"GET /settled HTTP/1.0\r\n\r\n")
            while one.recv(1000):
                pass

    def paths(self) -> list[str]:
        """The paths of `requests`."""
        return [request["uri"] for request in self.requests()]


@cache
def authority() -> "trustme.CA":
    """One for all tests of a process: making its key takes a moment."""
    import trustme  # only where it is needed: most tests do without

    return trustme.CA()


def free_ports(wanted: int) -> list[int]:
    """Ports of the loopback that are free now."""
    sockets = [socket.socket() for _ in range(wanted)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def nginx() -> str:
    """The program; where it is missing the test is skipped, in CI it fails."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        reason = "nginx is not installed (Debian: apt-get install nginx-light)"
        if os.environ.get("CI") or os.environ.get("ORBWEAVER_REQUIRE_SLURM"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


def start(folder: Path, extra: str = "") -> Web:
    """Start a server with all its files below a folder.

    Args:
        folder: Made if needed.
        extra: More for the `server` block, for tests that need another location.
    """
    program = nginx()
    for name in ("files", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    certificate = authority().issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    (folder / "server.pem").write_bytes(b"".join(p.bytes() for p in certificate.cert_chain_pems))
    authority().cert_pem.write_to_path(str(folder / "authority.pem"))
    for _ in range(5):  # a port may be taken between asking for it and listening on it
        http, other, tls = free_ports(3)
        text = CONFIG.format(
            folder=folder, http=http, other=other, tls=tls, token=TOKEN, no_length=NO_LENGTH,
            page=LOGIN_PAGE.decode(),
        )  # fmt: skip
        text = text.replace("    location / { }\n", f"    location / {{ }}\n{extra}\n")
        (folder / "nginx.conf").write_text(text)
        (folder / "nginx.pid").unlink(missing_ok=True)
        process = subprocess.Popen(
            [program, "-e", folder / "error.log", "-p", folder, "-c", folder / "nginx.conf"]
        )
        if _listens(process, folder / "nginx.pid"):
            return Web(folder, http, other, tls, folder / "authority.pem", process)
    raise RuntimeError(f"nginx does not start:\n{(folder / 'error.log').read_text()}")


def _listens(process: subprocess.Popen[bytes], note: Path) -> bool:
    """Whether it has its ports: it writes its process id once it listens on all of them.

    That a port answers would not tell: another test's server may have been the first to take it.
    """
    for _ in range(3000):
        if process.poll() is not None:
            return False
        if note.exists():
            return True
        time.sleep(0.01)
    process.kill()
    process.wait()
    return False


def stop(server: Web) -> None:
    """End it."""
    server.process.terminate()
    try:
        server.process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server of this test's own, trusted over TLS, with no proxy in between."""
    server = start(tmp_path / "web")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.authority))
    yield server
    stop(server)
