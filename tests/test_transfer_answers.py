"""What a server may answer that no server should: each ends in a clear error, or does no harm."""

import gzip
import os

import pytest
from source_servers import Answer, Server

from tests.fault_proxy import FaultProxy, Stall
from workflow_scripts.errors import UserError
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.download import download
from workflow_scripts.transfer.failures import retry_after
from workflow_scripts.transfer.notes import write_note
from workflow_scripts.transfer.remote import Remote
from workflow_scripts.transfer.settings import Settings

FAST = Settings(retries=1, timeout_s=5.0, first_wait_s=0.01, longest_wait_s=1.0)
MANY = "9" * 5000  # digits: more than Python makes a number of


@pytest.fixture
def server(own_settings):
    with Server() as one:
        yield one


def fetch(server, answer, folder, name="a.bin", **known):
    server.answer = lambda asked: answer
    remote = Remote(name=name, urls=(f"{server.url}/a",), **known)
    return download([remote], folder, client=Client(FAST), what="test")[0]


@pytest.mark.parametrize("target", ["http://[", "http://[::1/a", "\xff\xfe", "http://h:99999/"])
def test_a_redirect_to_what_is_no_url_is_told(server, tmp_path, target):
    with pytest.raises(UserError, match=r"redirects to what is no URL|not a valid URL"):
        fetch(server, Answer(b"", 302, {"Location": target}), tmp_path)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://h/a"])
def test_a_redirect_leads_to_the_web_alone(server, tmp_path, target):
    with pytest.raises(UserError, match="only http:// and https:// can be downloaded"):
        fetch(server, Answer(b"", 302, {"Location": target}), tmp_path)


def test_the_host_that_a_redirect_leads_to_is_named_if_it_is_not_there(server, tmp_path):
    target = "http://store.invalid/a?sig=secret"
    with pytest.raises(
        UserError, match=r"store\.invalid:80, to which it redirects: .*DNS"
    ) as error:
        fetch(server, Answer(b"", 302, {"Location": target}), tmp_path)
    assert "secret" not in str(error.value)
    assert "network seems" not in str(error.value)  # the first host did answer


@pytest.mark.parametrize("status", [300, 302, 304])
def test_a_redirect_to_nowhere_is_no_document(server, status):
    server.answer = lambda asked: Answer(b"[]", status)
    with pytest.raises(UserError, match=f"status {status} without an address"):
        Client(FAST).text(f"{server.url}/a")


def test_lengths_beyond_all_measure_count_as_not_told(server, tmp_path):
    with pytest.raises(UserError, match="does not tell how long it is"):
        fetch(server, Answer(b"abc", 200, {"Content-Length": MANY}), tmp_path / "a")
    write_note(
        tmp_path / ".a.bin.part.json",
        {"url": f"{server.url}/a", "etag": '"x"', "modified": None, "total": 10, "flushed": 3,
         "boot": None},
    )  # fmt: skip
    (tmp_path / ".a.bin.part").write_bytes(b"abc")
    answer = Answer(b"defghij", 206, {"Content-Range": f"bytes 3-9/{MANY}", "ETag": '"x"'})
    with pytest.raises(UserError, match="the file there changed meanwhile"):
        fetch(server, answer, tmp_path)


def test_more_than_the_server_said_is_no_part_of_the_file(server, tmp_path):
    write_note(
        tmp_path / ".a.bin.part.json",
        {"url": f"{server.url}/a", "etag": '"x"', "modified": None, "total": 10, "flushed": 3,
         "boot": None},
    )  # fmt: skip
    (tmp_path / ".a.bin.part").write_bytes(b"abc")
    answer = Answer(b"defghij, and more", 206, {"Content-Range": "bytes 3-9/10", "ETag": '"x"'})
    with pytest.raises(UserError, match="more bytes came than the 10 expected"):
        fetch(server, answer, tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "1.5", "Mon, 01 Jan 2026 00:00:00 +99999999999"]
)
def test_a_retry_after_that_says_nothing_is_none(value):
    assert retry_after(value) is None


def test_a_packed_file_that_its_server_calls_encoded_comes_as_it_lies_there(server, tmp_path):
    data = gzip.compress(b"an archive")
    answer = Answer(data, 200, {"Content-Encoding": "x-gzip"})
    assert fetch(server, answer, tmp_path, name="a.tar.GZ").path.read_bytes() == data
    with pytest.raises(UserError, match="sent with Content-Encoding x-gzip"):
        fetch(server, answer, tmp_path, name="a.tar")


@pytest.mark.parametrize("name", ["/a", "../a", "a/../../b", ".", "", "a\0b", "a\nb", "\ud800"])
def test_a_name_that_cannot_be_a_file_below_the_folder_is_refused(name):
    with pytest.raises(UserError, match="not a name for a downloaded file"):
        Remote(name=name, urls=())


def test_what_the_file_system_refuses_is_told_by_name(server, tmp_path):
    with pytest.raises(UserError, match=r"a{250}: File name too long; .*look at the folder"):
        fetch(server, Answer(b"abc"), tmp_path, name="a" * 250)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="file/a"):
        fetch(server, Answer(b"abc"), tmp_path, name="file/a")


def test_the_body_of_a_redirect_is_not_read_to_its_end(server, tmp_path):
    """One that never ends would fill the memory, or take all the time."""
    server.first = [Answer(b"x" * 100_000, 302, {"Location": f"{server.url}/b"})]
    server.answer = lambda asked: Answer(b"abc")
    with FaultProxy(int(server.url.rpartition(":")[2])) as proxy:
        proxy.faults = [Stall(after=1000)]
        remote = Remote(name="a.bin", urls=(proxy.url("a"),))
        client = Client(Settings(retries=0, timeout_s=0.5))
        (found,) = download([remote], tmp_path, client=client, what="test")
    assert found.bytes == 3


def test_a_redirect_to_the_same_server_needs_no_connection_of_its_own(server, tmp_path):
    before = server.connections
    server.first = [Answer(b"see there", 302, {"Location": "/b"})]
    fetch(server, Answer(b"abc"), tmp_path)
    assert server.connections == before + 1
