"""Downloads through a forward proxy, all that compute nodes may have, and without any network."""

import socket

import pytest
from source_cases import hub_source, named, obtained, recipe, stac_source

from tests.fault_proxy import Answer, Drop, FaultProxy
from tests.forward_proxy import ForwardProxy
from tests.web import TOKEN, Web
from workflow_scripts.errors import UserError
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.download import download
from workflow_scripts.transfer.failures import about_network
from workflow_scripts.transfer.remote import Remote
from workflow_scripts.transfer.settings import Settings

DATA = bytes(range(256)) * 4000
FAST = Settings(retries=5, timeout_s=5.0, first_wait_s=0.01, longest_wait_s=2.0)
PASSWORD = "hidden-password"


def fetch(url, folder, client=None):
    remote = Remote(name="a.bin", urls=(url,))
    return download([remote], folder, client=client or Client(FAST), what="test")[0]


@pytest.fixture
def served(web: Web):
    web.put("a.bin", DATA)
    return web


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_http_is_relayed_and_resumed(served, tmp_path, monkeypatch, name):
    with (
        FaultProxy(served.port) as faults,
        ForwardProxy({"archive.test": faults.port}, PASSWORD) as proxy,
    ):
        monkeypatch.setenv(name, proxy.url)
        faults.faults = [Drop(after=500_000), Answer(503, {"Retry-After": "0"})]
        found = fetch("http://archive.test/a.bin", tmp_path)
    assert found.path.read_bytes() == DATA
    assert found.url == "http://archive.test/a.bin"
    assert proxy.asked == ["GET http://archive.test/a.bin"] * 3
    first, last = served.requests()
    assert (first["host"], last["host"], last["status"]) == ("archive.test", "archive.test", 206)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_https_is_tunnelled_and_resumed_and_the_proxy_sees_no_token(
    served, tmp_path, monkeypatch, name
):
    with (
        FaultProxy(served.tls_port, raw=True) as faults,
        ForwardProxy({"localhost": faults.port}, PASSWORD) as proxy,
    ):
        monkeypatch.setenv(name, proxy.url)
        faults.faults = [Drop(after=500_000)]
        client = Client(FAST, {"localhost": TOKEN})
        found = fetch("https://localhost/private/a.bin", tmp_path, client)
    assert found.path.read_bytes() == DATA
    assert proxy.asked == ["CONNECT localhost:443"] * 2
    assert all(secret.startswith("Basic ") for secret in proxy.secrets)
    assert served.requests()[-1]["status"] == 206
    assert served.requests()[-1]["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_hosts_of_no_proxy_are_asked_directly(served, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "127.0.0.1,.inside.test")
    with ForwardProxy({"archive.test": served.port}) as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, proxy.url)
        fetch(served.url("a.bin"), tmp_path / "a")
        fetch(served.url("a.bin", tls=True), tmp_path / "b")
        assert proxy.asked == []
        fetch("http://archive.test/a.bin", tmp_path / "c")
        assert proxy.asked == ["GET http://archive.test/a.bin"]


def test_each_hop_of_a_redirect_goes_the_way_that_its_host_wants(served, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ForwardProxy({f"localhost:{served.port}": served.port}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        fetch(served.url("away/a.bin"), tmp_path, Client(FAST, {"127.0.0.1": TOKEN}))
        assert proxy.asked == [f"GET http://localhost:{served.port}/a.bin"]
    assert proxy.secrets == []


def test_a_proxy_that_wants_a_password_or_leads_nowhere_is_told_and_shows_no_password(
    served, tmp_path, monkeypatch
):
    with ForwardProxy({"localhost": served.tls_port}, PASSWORD) as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, f"http://me:wrong-password@127.0.0.1:{proxy.port}")
        with pytest.raises(UserError, match="asks for a user and a password, or refuses") as error:
            fetch("https://localhost/a.bin", tmp_path)
        assert "wrong-password" not in str(error.value)
        with pytest.raises(UserError, match="407 Proxy Authentication Required"):
            fetch("http://localhost/a.bin", tmp_path)
        asked = len(proxy.asked)
        assert asked == 2  # neither is asked again
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(UserError, match="it answers 502 Bad Gateway, and does not") as error:
            fetch("https://elsewhere.test/a.bin", tmp_path)
        assert PASSWORD not in str(error.value)
        assert len(proxy.asked) == asked + 1 + FAST.retries


def test_the_hub_and_a_stac_api_are_asked_through_the_proxy(hub, stac, tmp_path, monkeypatch):
    stac.store.valid.add(None)
    ports = {f"127.0.0.1:{port}": port for port in map(_port, (hub, hub.store, stac, stac.store))}
    with ForwardProxy(ports) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert obtained(recipe(source=hub_source(named("data/images.zip"))), {}, tmp_path / "a")
        assert obtained(recipe(source=stac_source(stac)), {}, tmp_path / "b")
    for server in (hub, hub.store, stac, stac.store):
        assert server.asked
        asked = [line for line in proxy.asked if f" {server.url}/" in line]
        assert len(asked) == len(server.asked)


def _port(server):
    return int(server.url.rpartition(":")[2])


def gone():
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_without_a_network_a_few_attempts_at_each_mirror_are_enough(tmp_path, monkeypatch, web):
    settings = Settings(first_wait_s=0.01)
    urls = (f"http://127.0.0.1:{gone()}/a.bin", "https://nowhere.invalid/a.bin")
    remote = Remote(name="a.bin", urls=urls)
    with pytest.raises(UserError) as error:
        download([remote], tmp_path / "raw", client=Client(settings), what="test")
    text = str(error.value)
    assert text.count("(3 attempts)") == 2
    assert text.count("the network seems not to be there") == 1
    assert "none of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY is set" in text
    assert f"{tmp_path}/raw/a.bin: could not be downloaded" in text
    assert "put it there under this name" in text
    with pytest.raises(UserError, match=r"\(3 attempts\)(.|\n)*network seems not to be there"):
        Client(settings).json(urls[0])


def test_a_mirror_that_answers_shows_that_there_is_a_network(served, tmp_path):
    urls = (f"http://127.0.0.1:{gone()}/a.bin", served.url("gone"))
    with pytest.raises(UserError, match="404") as error:
        download([Remote(name="a.bin", urls=urls)], tmp_path, client=Client(FAST), what="test")
    assert "(3 attempts)" in str(error.value)
    assert "network seems" not in str(error.value)


def test_a_server_that_answered_before_is_waited_for_as_long_as_configured(served, tmp_path):
    client = Client(FAST)
    with FaultProxy(served.port) as proxy:
        url = proxy.url("a.bin")
        with client.open(url, headers={}):
            pass
    with pytest.raises(UserError, match=r"Connection refused \(6 attempts without a new byte"):
        fetch(url, tmp_path, client)


def test_the_proxies_are_named_and_not_shown():
    text = about_network({"https_proxy": "http://me:hidden@host:1", "HTTP_PROXY": ""})
    assert "is that of HTTPS_PROXY: is it right?" in text
    assert "hidden" not in text


def test_a_service_that_is_not_there_is_told_like_a_file(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{gone()}")
    with pytest.raises(UserError) as error:
        obtained(recipe(source=hub_source(named("a.zip"))), {"retries": 8}, tmp_path / "raw")
    assert "Connection refused (3 attempts)\nNo connection came about" in str(error.value)
    assert "Or set datasets.places.path" in str(error.value)
