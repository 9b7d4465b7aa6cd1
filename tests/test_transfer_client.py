"""Tokens reach their host alone, the environment names proxies, and no secret is written."""

import contextlib
import io
import logging
import os
import socketserver
import subprocess
import sys
import threading
import traceback

import pytest

from tests.conftest import ROOT
from tests.fault_proxy import Answer, Drop, FaultProxy, Stall
from tests.forward_proxy import ForwardProxy
from tests.web import LOGIN_PAGE, TOKEN, Web
from workflow_scripts.errors import UserError
from workflow_scripts.logs import start_logging
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.download import download
from workflow_scripts.transfer.remote import Remote
from workflow_scripts.transfer.settings import Settings

DATA = bytes(range(256)) * 4000
FAST = Settings(retries=2, timeout_s=20.0, first_wait_s=0.01, longest_wait_s=2.0)


def client_of(web, *, settings=FAST, **tokens):
    return Client(settings, {**{f"127.0.0.1:{web.port}": TOKEN}, **tokens})


def fetch(client, url, folder, name="a.bin"):
    return download([Remote(name=name, urls=(url,))], folder, client=client, what="test")[0]


def sent(web):
    """By host and port: the Authorization headers that came."""
    return [(r["host"], int(r["port"]), r["authorization"]) for r in web.requests()]


@pytest.fixture
def served(web: Web):
    web.put("a.bin", DATA)
    return web


@pytest.mark.parametrize("key", ["127.0.0.1", "127.0.0.1:{port}"])
def test_a_token_opens_what_is_private(served, tmp_path, key):
    client = Client(FAST, {key.format(port=served.port): f" {TOKEN}\n"})
    assert fetch(client, served.url("private/a.bin"), tmp_path).path.read_bytes() == DATA
    assert sent(served) == [("127.0.0.1", served.port, f"Bearer {TOKEN}")]


def test_without_a_token_the_error_says_so(served, tmp_path):
    with pytest.raises(UserError, match=r"401 Unauthorized; no token is set for 127\.0\.0\.1"):
        fetch(Client(FAST), served.url("private/a.bin"), tmp_path)
    with pytest.raises(UserError, match=r"the token for 127\.0\.0\.1 was sent: it has expired"):
        fetch(Client(FAST, {"127.0.0.1": "old"}), served.url("private/a.bin"), tmp_path)


def test_a_redirect_on_the_same_host_keeps_the_token(served, tmp_path):
    fetch(client_of(served), served.url("here/a.bin"), tmp_path)
    assert [request["authorization"] for request in served.requests()] == [f"Bearer {TOKEN}"] * 3


@pytest.mark.parametrize("path", ["away/a.bin", "port/a.bin"])
@pytest.mark.parametrize("key", ["127.0.0.1", "127.0.0.1:{port}"])
def test_a_redirect_to_another_host_or_port_loses_the_token(served, tmp_path, path, key):
    client = Client(FAST, {key.format(port=served.port): TOKEN, "localhost": "of-another"})
    assert fetch(client, served.url(path), tmp_path).path.read_bytes() == DATA
    first, second = sent(served)
    assert first[2] == f"Bearer {TOKEN}"
    assert second[:2] != first[:2]
    assert second[2] == ""


def test_a_redirect_from_https_to_http_loses_the_token(served, tmp_path):
    client = Client(FAST, {"127.0.0.1": TOKEN})
    fetch(client, served.url("plain-http/a.bin", tls=True), tmp_path)
    assert [one[2] for one in sent(served)] == [f"Bearer {TOKEN}", ""]


def test_a_token_of_another_host_or_port_is_not_sent(served, tmp_path):
    tokens = {"localhost": TOKEN, f"127.0.0.1:{served.other_port}": TOKEN, "example.org": TOKEN}
    fetch(Client(FAST, tokens), served.url("a.bin"), tmp_path)
    assert sent(served) == [("127.0.0.1", served.port, "")]


def test_a_token_goes_over_http_to_this_machine_only(served, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", served.url(""))  # it gets what any host would get
    with pytest.raises(UserError, match="was not sent, since tokens go over https only"):
        fetch(Client(FAST, {"archive.test": TOKEN}), "http://archive.test/private/a.bin", tmp_path)
    assert sent(served) == [("archive.test", served.port, "")]


def test_passwords_of_netrc_are_not_sent(served, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hidden\n"
                     "machine localhost login me password hidden\n")  # fmt: skip
    monkeypatch.setenv("NETRC", str(netrc))
    fetch(Client(FAST), served.url("away/a.bin"), tmp_path / "raw")
    assert [one[2] for one in sent(served)] == ["", ""]


def test_the_user_that_a_url_names_goes_to_its_host_alone(served, tmp_path):
    url = served.url("away/a.bin", host="me:hidden@127.0.0.1")
    found = fetch(Client(FAST), url, tmp_path)
    assert found.url == served.url("away/a.bin")
    assert [one[2] for one in sent(served)] == ["Basic bWU6aGlkZGVu", ""]


@pytest.mark.parametrize("token", ["", " ", "two words", "line\nend", "ünï"])
def test_what_cannot_be_a_token_is_refused_without_showing_it(token):
    with pytest.raises(UserError, match=r"the token for a\.test is empty or holds") as error:
        Client(FAST, {"a.test": token})
    assert not token.strip() or token not in str(error.value)


def test_a_login_page_in_place_of_data_is_recognised(served, tmp_path):
    with pytest.raises(UserError) as error:
        fetch(client_of(served, **{f"127.0.0.1:{served.port}": "old"}),
              served.url("login/a.bin"), tmp_path)  # fmt: skip
    text = str(error.value)
    assert f"from http://localhost:{served.port}/login.html, to which the server redirects" in text
    assert "the token for 127.0.0.1 was sent: it has expired, is unknown there" in text
    assert os.listdir(tmp_path) == ["web"]
    fetch(client_of(served), served.url("login/a.bin"), tmp_path)
    # A page that is asked for is no error.
    page = fetch(Client(FAST), served.url("login/a.bin"), tmp_path, name="page.html")
    assert page.path.read_bytes() == LOGIN_PAGE


def test_no_secret_is_written_anywhere(served, tmp_path, capfd):
    """Every kind of end, with everything that is logged at any level, printed and left on disk."""
    raw, secrets = tmp_path / "raw", (TOKEN, "hidden-in-query", "hidden-password")
    start_logging(raw / "log.txt")
    everything = io.StringIO()
    handler = logging.StreamHandler(everything)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("orbweaver").setLevel(logging.DEBUG)
    shown = []
    try:
        with FaultProxy(served.port) as proxy:
            client = client_of(
                served, settings=Settings(retries=1, timeout_s=0.2, first_wait_s=0.01),
                **{f"127.0.0.1:{proxy.port}": TOKEN},
            )  # fmt: skip
            shown += [repr(client), str(client), repr(client.settings)]
            query, user = "?sig=hidden-in-query", "u:hidden-password@127.0.0.1"
            cases = [
                (proxy.url(f"private/a.bin{query}"), [Drop(after=1000), Stall(after=9)]),
                (proxy.url(f"private/a.bin{query}"), [Drop(after=1000), *[Answer(503)] * 9]),
                (proxy.url(f"a.bin{query}", host=user), [Answer(429)] * 9),
                (proxy.url(f"a.bin{query}", host=user), [Stall()] * 9),
                (proxy.url(f"gone{query}"), []), (proxy.url(f"private/gone{query}"), []),
                (served.url(f"away/gone{query}"), []), (served.url(f"login/gone{query}"), []),
                (f"https://{user}:{served.port}/{query}", []), (f"http://{user}:1/{query}", []),
                (served.url(f"a.bin{query}", tls=True, host="u:hidden-password@localhost"), []),
                (f"http://nowhere.invalid/{query}", []), (f"ftp://{user}/{query}", []),
                (f"http://{user}:port/{query}", []), (f"http://[{user}/{query}", []),
            ]  # fmt: skip
            for number, (url, faults) in enumerate(cases):
                proxy.faults = faults
                try:
                    shown.append(repr(fetch(client, url, raw / str(number))))
                except UserError:
                    shown.append(traceback.format_exc())
                proxy.faults = faults
                with contextlib.suppress(UserError):
                    client.json(url)
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger("orbweaver").handlers.clear()
        logging.getLogger("orbweaver").propagate = True
    out = capfd.readouterr()
    files = [path for path in raw.rglob("*") if path.is_file()]
    shown += [out.out, out.err, everything.getvalue(), *map(str, files)]
    assert any(path.name.endswith(".part.json") for path in files)
    assert any(path.name.endswith(".verified") for path in files)
    assert "503 Service Unavailable" in out.err  # there was something to look at
    assert "sig=" in served.folder.joinpath("access.log").read_text()  # that did get them
    for secret in secrets:
        assert all(secret not in text for text in shown), secret
        assert all(secret.encode() not in path.read_bytes() for path in files), secret


def test_a_certificate_is_checked_against_the_authorities_of_the_environment(
    served, tmp_path, monkeypatch
):
    fetch(Client(FAST), served.url("a.bin", tls=True), tmp_path / "a")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(UserError, match=r"not trusted \(.*set REQUESTS_CA_BUNDLE"):
        fetch(Client(FAST), served.url("a.bin", tls=True), tmp_path / "b")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(UserError, match=r"REQUESTS_CA_BUNDLE: .*missing\.pem"):
        fetch(Client(FAST), served.url("a.bin", tls=True), tmp_path / "c")


def test_a_certificate_of_another_host_is_refused(served, tmp_path, monkeypatch):
    with ForwardProxy({"archive.test": served.tls_port}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(UserError, match=r"not trusted .*archive\.test"):
            fetch(Client(FAST), "https://archive.test/a.bin", tmp_path)


def test_tls_that_breaks_is_resumed_and_a_server_without_it_is_told(served, tmp_path):
    with FaultProxy(served.tls_port, raw=True) as proxy:
        proxy.faults = [Drop(after=400_000), Drop(after=300), Drop(after=200_000, reset=False)]
        assert fetch(Client(FAST), proxy.url("a.bin"), tmp_path / "a").path.read_bytes() == DATA
        assert len(proxy.met) == 4
    with pytest.raises(UserError, match=r"TLS failed \(\w+\) \(3 attempts"):
        fetch(Client(FAST), f"https://127.0.0.1:{served.port}/a.bin", tmp_path / "b")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxies_come_from_the_environment(served, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, served.url(""))
    fetch(Client(FAST), "http://archive.test/a.bin", tmp_path / "a")
    assert served.requests()[0]["host"] == "archive.test"
    monkeypatch.setenv("NO_PROXY", "archive.test")
    with pytest.raises(UserError, match="DNS"):
        fetch(Client(FAST), "http://archive.test/a.bin", tmp_path / "b")
    monkeypatch.setenv(name, "http://user:hidden@127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(UserError, match=r"proxy of the environment.*refused") as error:
        fetch(Client(FAST), "http://archive.test/a.bin", tmp_path / "c")
    assert "hidden" not in str(error.value)


class _Socks(socketserver.BaseRequestHandler):
    """As much of SOCKS 5 (RFC 1928) as takes a name and leads to one server."""

    def handle(self):
        self.request.recv(self.request.recv(2)[1])  # the ways to log in, one byte each
        self.request.sendall(b"\x05\x00")
        kind, length = self.request.recv(5)[3:]
        self.server.asked.append((kind, self.request.recv(length + 2)[:-2]))
        self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
        with FaultProxy(self.server.upstream, raw=True) as proxy:
            proxy.pass_on(self.request)


def test_a_socks_proxy_is_asked_by_name(served, tmp_path, monkeypatch):
    """Compute nodes may have no DNS of the outside."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Socks) as server:
        server.asked, server.upstream = [], served.port
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{server.server_address[1]}")
        fetch(Client(FAST), "http://archive.test/a.bin", tmp_path)
        server.shutdown()
        thread.join()
    assert server.asked == [(3, b"archive.test")]


def test_documents_are_read_with_the_same_care(served):
    served.put("a.json", b'{"a": [1, "\xc3\xbc"]}')
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Drop(after=5), Answer(503, {"Retry-After": "0"}), Stall(after=3)]
        client = client_of(served, settings=Settings(retries=3, timeout_s=0.3, first_wait_s=0.01),
                           **{f"127.0.0.1:{proxy.port}": TOKEN})  # fmt: skip
        assert client.json(proxy.url("private/a.json")) == {"a": [1, "ü"]}
        assert client.text(served.url("a.json")) == '{"a": [1, "ü"]}'


def test_a_compressed_document_is_decoded_within_the_limit(served):
    import gzip

    served.put("a.json.gz", gzip.compress(b"[" + b" " * 5_000_000 + b"]"))
    served.put("a.json", b"never sent")
    assert Client(FAST).json(served.url("zipped/a.json")) == []
    with pytest.raises(UserError, match="longer than 1000000 bytes"):
        Client(FAST).json(served.url("zipped/a.json"), limit=1_000_000)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("gone", "404 Not Found"),
        ("latin.txt", "4 bytes that are not text in UTF-8"),
        ("big.txt", "longer than 100 bytes"),
        ("private/a.bin", "401 Unauthorized; no token is set"),
    ],
)
def test_a_document_that_cannot_be_had_is_named_with_what_was_seen(served, name, seen):
    served.put("latin.txt", "äöü!".encode("latin-1"))
    served.put("big.txt", b"x" * 1000)
    with pytest.raises(UserError, match=seen) as error:
        Client(FAST).text(served.url(f"{name}?q=hidden"), limit=100)
    assert str(error.value).startswith(served.url(name))
    assert "hidden" not in str(error.value)


def test_a_login_page_in_place_of_json_is_recognised(served):
    with pytest.raises(UserError, match="a login page"):
        Client(FAST).json(served.url("login/a.json"))
    served.put("a.json", b"{'a'}")
    with pytest.raises(UserError, match="5 bytes that are not JSON"):
        Client(FAST).json(served.url("a.json"))


def test_threads_share_a_client(served, tmp_path):
    script = f"""
import threading
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.settings import Settings
client = Client(Settings())
seen = []
threads = [threading.Thread(target=lambda: seen.append(client.json("{served.url("a.json")}")))
           for _ in range(16)]
[one.start() for one in threads]; [one.join() for one in threads]
assert seen == [[1]] * 16, seen
"""
    served.put("a.json", b"[1]")
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_web_page_from_the_same_host_tells_of_the_token(served, tmp_path):
    with pytest.raises(UserError, match=r"a login page, or .* no token is set for 127\.0\.0\.1"):
        fetch(Client(FAST), served.url("page/a.bin"), tmp_path)
