"""What was hashed before: nothing unchanged is read again, and a lost or damaged memory is none."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.made_archives import Entry, zip_bytes
from workflow_scripts.errors import UserError
from workflow_scripts.fetch import hashing, seen
from workflow_scripts.fetch.datasets import fetch_image_folder
from workflow_scripts.fetch.folder import FoundFile
from workflow_scripts.fetch.hashing import Hashed
from workflow_scripts.fetch.seen import RACY_NS, Seen, seen_beside

LONG_AGO = 1_600_000_000_000_000_000


def write(path, data, mtime_ns=LONG_AGO):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(mtime_ns, mtime_ns))


@pytest.fixture
def folder(tmp_path):
    for number in range(20):
        write(tmp_path / "places" / f"class{number % 3}" / f"{number}.jpg", b"picture %d" % number)
    return tmp_path / "places"


@pytest.fixture
def read(monkeypatch):
    """The paths that were read, in order; with one worker all are read in this process."""
    paths = []

    def noted(file, original=hashing.read_content):
        paths.append(file[0])
        return original(file)

    monkeypatch.setattr(hashing, "read_content", noted)
    return paths


def fetch(folder, workers=1):
    recipe = {"dataset": "places", "path": str(folder), "split": {"by": "none"}}
    cache = seen_beside(folder.parent / "manifests" / "places.jsonl")
    items, set_aside = fetch_image_folder(recipe, workers=workers, seen=cache)
    return list(items), list(set_aside)


def cache_of(folder):
    return folder.parent / "manifests" / ".places.seen.sqlite"


def test_unchanged_files_are_not_read_again(folder, read):
    first = fetch(folder)
    assert len(read) == 20
    read.clear()
    assert fetch(folder) == first
    assert read == []


def test_unchanged_files_are_not_read_again_by_processes(tmp_path):
    folder = tmp_path / "places"
    for number in range(hashing._BY_THREADS + 300):
        write(folder / "a" / f"{number}.jpg", b"%06d" % number)
    first = fetch(folder, workers=2)
    for path in folder.glob("a/*.jpg"):
        write(path, b"others")  # as many bytes, at the same time: only reading tells
    assert fetch(folder, workers=2) == first
    cache_of(folder).unlink()
    assert len({item.sha256 for item in fetch(folder, workers=2)[0]}) == 1


def test_only_a_file_of_another_size_or_time_is_read(folder, read):
    fetch(folder)
    read.clear()
    write(folder / "class0/0.jpg", b"of another size")
    write(folder / "class1/1.jpg", b"PICTURE 1", LONG_AGO + 1)
    write(folder / "class0/new.jpg", b"new")
    items, _ = fetch(folder)
    names = ["class0/0.jpg", "class0/new.jpg", "class1/1.jpg"]
    assert read == [str(folder / name) for name in names]
    cache_of(folder).unlink()
    assert fetch(folder)[0] == items


def test_another_archive_of_the_same_size_and_time_is_told_by_its_checksums(tmp_path, read):
    path = tmp_path / "places.zip"

    def fetched(pictures):
        write(path, zip_bytes([Entry(b"a/%d.jpg" % n, one) for n, one in enumerate(pictures)]))
        return [item.sha256 for item in fetch(path)[0]]

    first = fetched([b"one", b"two"])
    read.clear()
    second = fetched([b"one", b"new"])
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert len(read) == 1


def test_a_file_that_may_have_changed_within_the_tick_of_the_clock_is_not_believed(folder, read):
    now = time.time_ns()
    write(folder / "class0/new.jpg", b"first", now)
    write(folder / "class0/future.jpg", b"first", now + 10**15)
    write(folder / "class0/old.jpg", b"first", now - RACY_NS - 10**9)
    before = {item.key: item.sha256 for item in fetch(folder)[0]}
    for name, time_ns in (("new", now), ("future", now + 10**15), ("old", now - RACY_NS - 10**9)):
        write(folder / f"class0/{name}.jpg", b"other", time_ns)
    read.clear()
    after = {item.key: item.sha256 for item in fetch(folder)[0]}
    assert read == [str(folder / "class0/future.jpg"), str(folder / "class0/new.jpg")]
    assert {key for key in after if after[key] != before[key]} == {
        "class0/future.jpg", "class0/new.jpg",
    }  # fmt: skip


def test_a_file_that_grew_while_it_was_read_is_not_believed(tmp_path):
    file = FoundFile("a.jpg", "a.jpg", 5, LONG_AGO)
    with Seen(tmp_path / "cache") as cache:
        cache.add(Hashed(file, (b"x" * 32, 6), time.time_ns()))
    with Seen(tmp_path / "cache") as cache:
        assert cache.known([file, file._replace(bytes=6)]) == [None, None]


def test_files_that_went_are_forgotten(folder, read):
    fetch(folder)
    for name in ("class0/0.jpg", "class0/3.jpg"):
        (folder / name).unlink()
    fetch(folder)
    with sqlite3.connect(cache_of(folder)) as database:
        paths = {path for (path,) in database.execute("SELECT path FROM seen")}
    assert paths == {str(path) for path in folder.glob("*/*.jpg")}
    assert len(paths) == 18


def spoil_version(path):
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")


def spoil_row(path):
    """Another digest in a row, as a bad disk might give."""
    with sqlite3.connect(path) as database:
        (one,) = database.execute("SELECT sha256 FROM seen").fetchone()
    path.write_bytes(path.read_bytes().replace(one, bytes(32)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no database, but long enough to be looked at" * 99),
        lambda path: os.truncate(path, 5000),
        lambda path: path.write_bytes(path.read_bytes()[:100] + b"\xff" * 8000),
        lambda path: sqlite3.connect(path).execute("DROP TABLE seen").connection.commit(),
        spoil_version,
        spoil_row,
    ],
    ids=["gone", "empty", "text", "cut", "overwritten", "no table", "version", "row"],
)
def test_a_damaged_cache_is_made_anew_and_changes_no_result(folder, read, spoil):
    first = fetch(folder)
    spoil(cache_of(folder))
    assert fetch(folder) == first
    read.clear()
    assert fetch(folder) == first
    assert read == []


def test_a_cache_that_breaks_meanwhile_is_made_anew(tmp_path):
    files = [FoundFile(f"{n}.jpg", f"{n}.jpg", 1, LONG_AGO) for n in range(999)]
    path = tmp_path / "cache"
    for start in (0, 500):
        with Seen(path) as cache:
            if start:
                assert cache.known(files[:2]) == [(b"%032d" % 0, 1), (b"%032d" % 1, 1)]
                path.write_bytes(b"\xff" * path.stat().st_size)
                assert cache.known(files[:2]) == [None, None]
            for number, file in enumerate(files[start:], start):
                cache.add(Hashed(file, (b"%032d" % number, 1), time.time_ns()))
    with Seen(path) as cache:
        found = cache.known(files[499:501])
    assert found == [None, (b"%032d" % 500, 1)]


def test_a_folder_that_takes_no_cache_is_told(tmp_path):
    (tmp_path / "cache").mkdir()
    with pytest.raises(UserError, match=r"cache: the file of what was read before cannot be used"):
        Seen(tmp_path / "cache")


def test_what_was_committed_survives_a_kill(tmp_path):
    code = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from workflow_scripts.fetch.folder import FoundFile\n"
        "from workflow_scripts.fetch.hashing import Hashed\n"
        "from workflow_scripts.fetch.seen import Seen\n"
        "cache = Seen(Path(sys.argv[1]))\n"
        "for n in range(10_000):\n"
        "    cache.add(Hashed(FoundFile('k', f'{n}', 1, 1), (b'%032d' % n, 1), time.time_ns()))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "cache")], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    with Seen(tmp_path / "cache") as cache:
        found = cache.known([FoundFile("k", f"{n}", 1, 1) for n in range(10_000)])
    kept = [content for content in found if content is not None]
    assert len(kept) >= 2 * seen._COMMIT_ROWS
    assert kept == [(b"%032d" % n, 1) for n in range(len(kept))]
