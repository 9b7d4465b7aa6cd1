"""Downloads end with the right bytes or a clear error, whatever the network and the server do."""

import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate

import pytest

from tests.conftest import ROOT
from tests.fault_proxy import (
    Answer,
    Drop,
    Fault,
    FaultProxy,
    Flip,
    Garbage,
    Length,
    Slow,
    Stall,
    random_faults,
)
from tests.web import Web
from workflow_scripts.errors import UserError
from workflow_scripts.lifetime import boot_id
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.download import download
from workflow_scripts.transfer.remote import Remote
from workflow_scripts.transfer.settings import Settings

DATA = random.Random(0).randbytes(3_000_017)
OTHER = random.Random(1).randbytes(3_000_017)
BOOT = boot_id()
FAST = Settings(retries=3, timeout_s=20.0, first_wait_s=0.01, longest_wait_s=2.0)


def sha256(data=DATA):
    return hashlib.sha256(data).hexdigest()


def fetch(urls, folder, *, settings=FAST, name="a.bin", **known):
    urls = (urls,) if isinstance(urls, str) else urls
    remote = Remote(name=name, urls=urls, **known)
    return download([remote], folder, client=Client(settings), what="test")[0]


def left_part(folder, data, *, name="a.bin", **origin):
    """What an interrupted download leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f".{name}.part").write_bytes(data)
    if origin:
        empty = {"etag": None, "modified": None, "total": None, "flushed": 0, "boot": BOOT}
        change_note(folder, **{**empty, **origin})


def change_note(folder, **values):
    """Write into what is known of a part."""
    path = folder / ".a.bin.part.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **values}))


def interrupted(web, folder, url, size=1_000_000):
    """The start of a file, as left by a download of `url` that came so far."""
    with FaultProxy(web.port) as proxy:
        proxy.faults = [Drop(after=size), *[Answer(503)] * 9]
        with pytest.raises(UserError):
            fetch(proxy.url("a.bin"), folder)
    change_note(folder, url=url)
    return (folder / ".a.bin.part").stat().st_size


@pytest.fixture
def served(web: Web):
    web.put("a.bin", DATA)
    return web


def names(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("size", [0, 1, 70_000, len(DATA)])
def test_a_file_arrives_with_its_digest_and_nothing_else_is_left(web, tmp_path, size):
    web.put("sub/a.bin", DATA[:size])
    found = fetch(web.url("sub/a.bin"), tmp_path / "raw", name="x/a.bin")
    assert found.path.read_bytes() == DATA[:size]
    assert (found.bytes, found.sha256) == (size, sha256(DATA[:size]))
    assert found.url == web.url("sub/a.bin")
    assert names(tmp_path / "raw" / "x") == [".a.bin.verified", "a.bin"]


def test_many_files_come_in_order_with_several_under_way_at_once(web, tmp_path):
    for number in range(12):
        web.put(f"{number}.bin", DATA[: 100_000 + number])
    with FaultProxy(web.port) as proxy:
        barrier = threading.Barrier(4, timeout=20)  # passed only if four are asked for at once
        proxy.faults = [Fault(first=barrier.wait) for _ in range(12)]
        remotes = [Remote(name=f"{n}", urls=(proxy.url(f"{n}.bin"),)) for n in range(12)]
        settings = Settings(parallel=4, timeout_s=30)
        found = download(remotes, tmp_path / "raw", client=Client(settings), what="test")
    assert [one.name for one in found] == [f"{n}" for n in range(12)]
    assert [one.bytes for one in found] == [100_000 + n for n in range(12)]


def test_what_is_there_is_not_asked_for_again(served, tmp_path):
    first = fetch(served.url("a.bin"), tmp_path)
    again = fetch(served.url("a.bin"), tmp_path, sha256=sha256())
    assert again.sha256 == first.sha256
    assert again.url is None
    assert len(served.requests()) == 1


def test_an_interrupted_download_goes_on_where_it_ended(served, tmp_path):
    size = interrupted(served, tmp_path, served.url("a.bin"))
    assert 0 < size <= 1_000_000
    asked = len(served.requests())
    found = fetch(served.url("a.bin"), tmp_path)
    assert found.path.read_bytes() == DATA
    assert found.sha256 == sha256()  # over the bytes of both
    (last,) = served.requests()[asked:]
    assert (last["status"], last["range"]) == (206, f"bytes={size}-")
    assert last["if_range"].startswith('"')  # the ETag
    assert last["sent"] == len(DATA) - size


@pytest.mark.parametrize("data", [OTHER, OTHER[:2_000_000], OTHER[:500_000]])
def test_a_file_that_changed_meanwhile_is_begun_afresh(served, tmp_path, data):
    interrupted(served, tmp_path, served.url("a.bin"))
    served.put("a.bin", data)
    found = fetch(served.url("a.bin"), tmp_path)
    assert found.path.read_bytes() == data
    assert found.sha256 == sha256(data)


def test_a_file_that_changes_between_two_attempts_is_not_mixed(served, tmp_path):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [
            Drop(after=900_000), Drop(after=500_000, first=lambda: served.put("a.bin", OTHER)),
        ]  # fmt: skip
        found = fetch(proxy.url("a.bin"), tmp_path)
    assert found.path.read_bytes() == OTHER


def test_the_date_marks_a_file_where_there_is_no_etag(served, tmp_path):
    interrupted(served, tmp_path, served.url("a.bin"))
    change_note(tmp_path, etag=None)
    fetch(served.url("a.bin"), tmp_path)
    assert served.requests()[-1]["status"] == 206
    assert served.requests()[-1]["if_range"].endswith("GMT")


def test_a_weak_etag_is_no_condition(served, tmp_path):
    interrupted(served, tmp_path, served.url("a.bin"))
    change_note(tmp_path, etag='W/"1"', modified=None)
    assert fetch(served.url("a.bin"), tmp_path).path.read_bytes() == DATA
    assert served.requests()[-1]["range"] == ""


def test_a_part_that_cannot_be_matched_goes_on_only_if_size_and_checksum_are_known(
    served, tmp_path
):
    for known, status in (
        ({}, 200),
        ({"bytes": len(DATA)}, 200),
        ({"sha256": sha256()}, 200),
        ({"bytes": len(DATA), "sha256": sha256()}, 206),
    ):
        for origin in ({}, {"url": "https://elsewhere/a", "total": len(DATA), "etag": '"x"'}):
            folder = tmp_path / f"{status}-{len(known)}-{bool(origin)}-{'bytes' in known}"
            left_part(folder, DATA[:1000], **origin)
            found = fetch(served.url("a.bin"), folder, **known)
            assert found.path.read_bytes() == DATA
            assert served.requests()[-1]["status"] == status


def test_a_part_with_an_unreadable_description_is_begun_afresh(served, tmp_path):
    for number, text in enumerate(["", "{", "[]", '{"a": 1}', "null"]):
        folder = tmp_path / str(number)
        left_part(folder, OTHER[:1000])
        (folder / ".a.bin.part.json").write_text(text)
        assert fetch(served.url("a.bin"), folder).path.read_bytes() == DATA


def test_a_part_spoilt_on_the_disk_is_set_aside_and_the_file_comes_whole(served, tmp_path):
    interrupted(served, tmp_path, served.url("a.bin"))
    part = tmp_path / ".a.bin.part"
    size = part.stat().st_size
    part.write_bytes(bytes(size))  # as after a power cut
    found = fetch(served.url("a.bin"), tmp_path, sha256=sha256())
    assert found.path.read_bytes() == DATA
    assert (tmp_path / "a.bin.rejected").read_bytes() == bytes(size) + DATA[size:]


def test_a_part_that_is_whole_needs_no_request(served, tmp_path):
    left_part(tmp_path, DATA)
    fetch(served.url("a.bin"), tmp_path, bytes=len(DATA), sha256=sha256())
    assert served.requests() == []
    assert names(tmp_path) == [".a.bin.verified", "a.bin", "web"]


def test_a_part_that_is_longer_than_the_file_is_begun_afresh(served, tmp_path):
    left_part(tmp_path, DATA + b"more")
    found = fetch(served.url("a.bin"), tmp_path, bytes=len(DATA), sha256=sha256())
    assert found.path.read_bytes() == DATA


def test_a_server_that_sends_no_ranges_sends_all_of_it_again(served, tmp_path):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Drop(after=2_000_000), Drop(after=1_000_000)]
        found = fetch(proxy.url("whole/a.bin"), tmp_path)
    assert found.path.read_bytes() == DATA
    assert [request["status"] for request in served.requests()] == [200] * 3


def test_status_416_ends_a_whole_part_and_throws_away_another(served, tmp_path):
    etag = {"etag": served.etag("a.bin")}
    total = {"Content-Range": f"bytes */{len(DATA)}"}
    cases = [
        (DATA, etag, {**total, "ETag": etag["etag"]}, 1),
        (OTHER + b"12345", {"modified": formatdate(0, usegmt=True)}, total, 2),
        (OTHER, etag, {**total, "ETag": '"of another"'}, 2),
    ]
    for number, (data, known, headers, requests) in enumerate(cases):
        folder = tmp_path / str(number)
        with FaultProxy(served.port) as proxy:
            left_part(folder, data, url=proxy.url("a.bin"), **known)
            proxy.faults = [Answer(416, headers)]
            assert fetch(proxy.url("a.bin"), folder).path.read_bytes() == DATA
        assert len(proxy.met) == requests


def test_after_another_boot_only_flushed_bytes_count_unless_a_checksum_shows_them(served, tmp_path):
    cases = [({}, 1234), ({"bytes": len(DATA)}, 1234), ({"sha256": sha256()}, 1_000_000)]
    for number, (known, begin) in enumerate(cases):
        folder = tmp_path / str(number)
        origin = {"url": served.url("a.bin"), "etag": served.etag("a.bin"), "total": len(DATA)}
        left_part(folder, DATA[:1_000_000], **origin, boot="another", flushed=1234)
        assert fetch(served.url("a.bin"), folder, **known).path.read_bytes() == DATA
        assert served.requests()[-1]["range"] == f"bytes={begin}-"


def test_what_has_come_is_flushed_when_a_download_ends_early(served, tmp_path):
    size = interrupted(served, tmp_path, served.url("a.bin"))
    assert json.loads((tmp_path / ".a.bin.part.json").read_text())["flushed"] == size


def test_drops_at_random_bytes_cost_only_the_bytes_that_had_not_come(served, tmp_path):
    cuts = [Drop(after=200_000 * n + 7, reset=bool(n % 2)) for n in range(1, 6)]
    with FaultProxy(served.port) as proxy:
        proxy.faults = cuts
        found = fetch(proxy.url("a.bin"), tmp_path, settings=Settings(first_wait_s=0.01))
    assert found.path.read_bytes() == DATA
    assert len(proxy.met) >= 5
    ranges = [int(request["range"][6:-1]) for request in served.requests()[1:]]
    assert ranges == sorted(ranges)
    # What was read before a connection was reset is not lost: a server that resets every time
    # still gives the file.
    assert ranges[0] > 0


@pytest.mark.parametrize("seed", range(4))
def test_any_mix_of_faults_ends_in_the_right_bytes(served, tmp_path, seed):
    with FaultProxy(served.port) as proxy:
        proxy.faults = random_faults(seed, 1_500_000)
        settings = Settings(retries=20, timeout_s=0.2, first_wait_s=0.001, longest_wait_s=0.1)
        found = fetch(proxy.url("a.bin"), tmp_path, settings=settings)
    assert found.path.read_bytes() == DATA
    assert len(proxy.met) > 1


def test_attempts_that_bring_bytes_do_not_count(served, tmp_path):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Drop(after=100_000, reset=False)] * 10
        found = fetch(proxy.url("a.bin"), tmp_path, settings=Settings(retries=0, first_wait_s=0.01))
    assert found.path.read_bytes() == DATA
    assert len(proxy.met) == 11


def test_a_file_that_changes_at_every_attempt_is_given_up(served, tmp_path):
    versions = itertools.count()

    def change():
        served.put("a.bin", DATA, mtime=1e9 + next(versions))

    with FaultProxy(served.port) as proxy:
        proxy.faults = (Drop(after=100_000, first=change) for _ in itertools.count())
        with pytest.raises(UserError, match="4 attempts without a new byte"):
            fetch(proxy.url("a.bin"), tmp_path)


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Drop(after=0), "reset by peer"),
        (Drop(after=0, reset=False), "the connection ended early"),
        (Stall(after=0), "nothing came for 0.5 s"),
        (Answer(500), "500 Internal Server Error"),
        (Answer(503, {"Retry-After": "0"}), "503 Service Unavailable"),
        (Answer(429), "429 Too Many Requests"),
        (Answer(408), "408 Request Timeout"),
        (Answer(425), "425 Too Early"),
        (Garbage(), "the connection failed"),
    ],
)
def test_what_may_pass_is_tried_again_and_then_told(served, tmp_path, fault, seen):
    # Patience with all but a stall: on a busy machine an answer may take its time.
    settings = replace(FAST, timeout_s=0.5) if isinstance(fault, Stall) else FAST
    with FaultProxy(served.port) as proxy:
        proxy.faults = [fault]
        found = fetch(proxy.url("a.bin"), tmp_path / "once", settings=settings)
        assert found.path.read_bytes() == DATA
        proxy.faults = [fault] * 9
        proxy.met.clear()
        with pytest.raises(UserError) as error:
            fetch(proxy.url("a.bin"), tmp_path / "always", settings=settings)
        assert len(proxy.met) == 4
    text = str(error.value)
    assert seen in text
    assert f"{tmp_path}/always/a.bin: could not be downloaded" in text
    assert proxy.url("a.bin") in text
    assert names(tmp_path / "always") == []


@pytest.mark.parametrize("status", [400, 404, 410, 451, 501])
def test_other_statuses_are_final(served, tmp_path, status):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Answer(status)]
        with pytest.raises(UserError, match=rf"{status} \w+"):
            fetch(proxy.url("a.bin"), tmp_path)
        assert len(proxy.met) == 1


def test_a_connection_refused_and_an_unknown_name_are_told(tmp_path):
    with pytest.raises(UserError, match=r"Connection refused \(3 attempts\)"):
        fetch("http://127.0.0.1:1/a", tmp_path)
    with pytest.raises(UserError, match=r"name was not found \(DNS\)"):
        fetch("http://nowhere.invalid/a", tmp_path)


@pytest.mark.parametrize("url", ["ftp://x/a", "file:///etc/passwd", "x/a", "http://", "http://[/"])
def test_what_is_no_url_of_http_is_told_at_once(tmp_path, url):
    with pytest.raises(UserError, match=r"a\.bin: could not be downloaded"):
        fetch(url, tmp_path, settings=Settings())


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_waited_for(served, tmp_path, date):
    arrivals = []
    until = int(time.time()) + 2  # a date has whole seconds only
    asked = formatdate(until, usegmt=True) if date else "1"
    with FaultProxy(served.port) as proxy:
        proxy.faults = [
            Answer(429, {"Retry-After": asked}, first=lambda: arrivals.append(time.time())),
            Fault(first=lambda: arrivals.append(time.time())),
        ]
        fetch(proxy.url("a.bin"), tmp_path)
    assert arrivals[1] >= (until if date else arrivals[0] + 1) - 0.05


def test_a_server_that_asks_for_more_than_is_allowed_is_not_waited_for(served, tmp_path):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Answer(503, {"Retry-After": "86400"})]
        with pytest.raises(UserError, match=r"asks to wait 86400 s, more than the 2 s allowed"):
            fetch(proxy.url("a.bin"), tmp_path)


def test_mirrors_take_over_and_go_on_if_size_and_checksum_are_known(served, tmp_path):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Drop(after=1_000_000), *[Answer(503)] * 9]
        urls = (served.url("gone"), proxy.url("a.bin"), served.url("a.bin"))
        found = fetch(urls, tmp_path, bytes=len(DATA), sha256=sha256())
    assert found.path.read_bytes() == DATA
    assert found.url == urls[2]
    assert served.requests()[-1]["status"] == 206


def test_when_all_mirrors_fail_the_error_names_each(served, tmp_path):
    served.put("other", OTHER)
    urls = ("http://user:secret@127.0.0.1:1/a?sig=secret", served.url("gone?key=secret"),
            served.url("other"))  # fmt: skip
    with pytest.raises(UserError) as error:
        fetch(urls, tmp_path, sha256=sha256())
    text = str(error.value)
    assert "http://127.0.0.1:1/a: Connection refused" in text
    assert f"{served.url('gone')}: 404 Not Found" in text
    assert f"its sha256 is {sha256(OTHER)}, expected {sha256()}; set aside as" in text
    assert "put it there under this name" in text
    assert "secret" not in text


def test_a_wrong_file_is_set_aside_and_the_next_mirror_is_asked(served, tmp_path):
    served.put("b.bin", OTHER)
    md5 = hashlib.md5(DATA).hexdigest()
    found = fetch((served.url("b.bin"), served.url("a.bin")), tmp_path, md5=md5.upper())
    assert found.path.read_bytes() == DATA
    assert (tmp_path / "a.bin.rejected").read_bytes() == OTHER


def test_a_byte_that_is_wrong_on_the_way_is_noticed(served, tmp_path):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Flip(at=1_234_567)]
        with pytest.raises(UserError, match=r"sha256 is .*, expected .*rejected"):
            fetch(proxy.url("a.bin"), tmp_path, sha256=sha256())
    assert names(tmp_path) == ["a.bin.rejected", "web"]


def test_a_wrong_size_is_told_before_a_byte_is_taken(served, tmp_path):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Stall(after=0)]  # the header comes, and no byte
        with pytest.raises(UserError, match="has 3000017 bytes there, expected 3000018"):
            fetch(proxy.url("a.bin"), tmp_path, bytes=3_000_018)
        assert len(proxy.met) == 1


@pytest.mark.parametrize("by", [1, 1000])
def test_a_length_that_is_never_reached_ends_in_an_error(served, tmp_path, by):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Length(by=by)] * 2
        assert fetch(proxy.url("whole/a.bin"), tmp_path / "a").path.read_bytes() == DATA
        proxy.faults = [Length(by=by)] * 9
        with pytest.raises(UserError, match="ended early"):
            fetch(proxy.url("whole/a.bin"), tmp_path / "b")


def test_a_length_that_is_too_short_is_noticed_by_size_or_checksum(served, tmp_path):
    with FaultProxy(served.port) as proxy:
        for number, known in enumerate([{"bytes": len(DATA)}, {"sha256": sha256()}]):
            proxy.faults = [Length(by=-5)]
            urls = (proxy.url("a.bin"), served.url("a.bin"))
            assert fetch(urls, tmp_path / str(number), **known).path.read_bytes() == DATA


def test_without_a_length_only_a_known_size_or_checksum_shows_the_end(served, tmp_path):
    assert fetch(served.url("chunked/a.bin"), tmp_path / "chunked").path.read_bytes() == DATA
    with pytest.raises(UserError, match="a file cut short would pass for whole"):
        fetch(served.url("unending/a.bin"), tmp_path / "unknown")
    for known in ({"bytes": len(DATA)}, {"sha256": sha256()}):
        folder = tmp_path / "-".join(known)
        assert fetch(served.url("unending/a.bin"), folder, **known).path.read_bytes() == DATA


@pytest.mark.parametrize("path", ["chunked/a.bin", "unending/a.bin", "unmarked/a.bin"])
def test_a_body_cut_short_without_a_length_is_noticed(served, tmp_path, path):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Drop(after=1_000_000, reset=False)] * 2
        known = {} if path.startswith("chunked") else {"bytes": len(DATA), "sha256": sha256()}
        assert fetch(proxy.url(path), tmp_path, **known).path.read_bytes() == DATA


def test_more_than_expected_ends_the_download(served, tmp_path):
    with pytest.raises(UserError, match="more bytes came than the 5 expected"):
        fetch(served.url("chunked/a.bin"), tmp_path, bytes=5)


def test_a_compressed_answer_is_refused(served, tmp_path):
    served.put("a.bin.gz", b"\x1f\x8b not looked into")
    with pytest.raises(UserError, match="sent with Content-Encoding gzip"):
        fetch(served.url("zipped/a.bin"), tmp_path)
    assert served.requests()[-1]["encoding"] == "identity"


def test_a_web_page_in_place_of_data_is_told(served, tmp_path):
    with pytest.raises(UserError, match="a web page came"):
        fetch(served.url("page/a.bin"), tmp_path)
    assert fetch(served.url("page/a.bin"), tmp_path, name="a.html").path.read_bytes() == DATA


def test_a_redirect_without_end_is_told(served, tmp_path):
    with pytest.raises(UserError, match="more than 10 redirects"):
        fetch(served.url("loop/a.bin"), tmp_path)


def test_after_a_failure_no_further_file_is_begun_and_those_under_way_come(served, tmp_path):
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Slow(pause_s=0.005)]
        urls = [served.url("gone"), *[served.url("a.bin")] * 30]
        remotes = [Remote(name="slow", urls=(proxy.url("a.bin"),))]
        remotes += [Remote(name=f"{number}", urls=(url,)) for number, url in enumerate(urls)]
        with pytest.raises(UserError, match=r"0: could not be downloaded[^$]*more files were not"):
            download(remotes, tmp_path / "raw", client=Client(Settings(parallel=2)), what="test")
    assert (tmp_path / "raw" / "slow").read_bytes() == DATA
    assert len(names(tmp_path / "raw")) < 30


def test_two_files_of_one_name_are_refused(tmp_path):
    remotes = [Remote(name="a", urls=("http://127.0.0.1:1/",))] * 2
    with pytest.raises(UserError, match="two files of one name: a"):
        download(remotes, tmp_path, client=Client(FAST), what="test")


def test_two_downloads_of_one_file_take_turns(served, tmp_path):
    found = []
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Slow(pause_s=0.001)]
        threads = [
            threading.Thread(target=lambda: found.append(fetch(proxy.url("a.bin"), tmp_path)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 3
    assert {one.sha256 for one in found} == {sha256()}
    assert len(served.requests()) == 1
    assert names(tmp_path) == [".a.bin.verified", "a.bin", "web"]


CALLED_OFF = """
import os, signal, sys, threading, time
from pathlib import Path
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.download import download
from workflow_scripts.transfer.remote import Remote
from workflow_scripts.transfer.settings import Settings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
def call_off():
    while not (part := Path(sys.argv[3], ".slow.part")).exists() or not part.stat().st_size:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=call_off, daemon=True).start()
names = ["slow", "slow2", *map(str, range(20))]
remotes = [Remote(name="waits", urls=(sys.argv[1],)),
           *(Remote(name=name, urls=(sys.argv[2] + name,)) for name in names)]
download(remotes, Path(sys.argv[3]), what="test",
         client=Client(Settings(parallel=3, first_wait_s=600, retries=99)))
"""


def test_ctrl_c_before_all_downloads_have_begun_ends_those_that_have(served, tmp_path, monkeypatch):
    submit, seen = ThreadPoolExecutor.submit, []

    def interrupted(pool, function, remote, *more):
        seen.append(remote.name)
        if remote.name == "two":
            raise KeyboardInterrupt
        return submit(pool, function, remote, *more)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    served.put("one", DATA)
    with FaultProxy(served.port) as proxy:
        proxy.faults = [Slow(pause_s=0.05)]
        remotes = [Remote(name=name, urls=(proxy.url(name),)) for name in ("one", "two", "three")]
        with pytest.raises(KeyboardInterrupt):
            download(remotes, tmp_path / "raw", what="test", client=Client(FAST))
    assert seen == ["one", "two"]
    assert not (tmp_path / "raw" / "one").exists()


def test_ctrl_c_ends_at_once_and_keeps_what_came(served, tmp_path):
    with FaultProxy(served.port) as busy, FaultProxy(served.port) as proxy:
        for name in ("slow", "slow2", "waits"):
            served.put(name, DATA)
        # One waits for its next attempt, two come slowly, the others have not begun.
        busy.faults = [Answer(503)] * 9
        proxy.faults = [Slow(pause_s=0.05)] * 9
        done = subprocess.run(
            [sys.executable, "-c", CALLED_OFF, busy.url("waits"), proxy.url(""), tmp_path / "raw"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
    assert "KeyboardInterrupt" in done.stderr
    left = names(tmp_path / "raw")
    assert {".slow.part", ".slow.part.json"} <= set(left)
    assert not any(name.isdecimal() for name in left)
    assert 0 < (tmp_path / "raw" / ".slow.part").stat().st_size < len(DATA)
