"""Inventories of many files: order, few in memory, members of archives, what is set aside."""

import errno
import hashlib
import math
import os
import random
import tracemalloc
from collections import defaultdict

import pytest

from workflow_scripts.digests import canonical
from workflow_scripts.errors import UserError
from workflow_scripts.fetch import hashing
from workflow_scripts.fetch.folder import IMAGE_SUFFIXES, FoundFile, files_below, names_below
from workflow_scripts.fetch.hashing import hash_files
from workflow_scripts.fetch.inventory import MOST_LISTED, SetAsides, summary, take_inventory
from workflow_scripts.fetch.listing import Listing
from workflow_scripts.fetch.manifest import (
    Item,
    line_of,
    read_manifest,
    sha256_here,
    write_manifest,
    write_ordered,
)
from workflow_scripts.fetch.splits import SPLITS, split_by_fraction
from workflow_scripts.files import write_json
from workflow_scripts.report.days import sum_manifests
from workflow_scripts.split.items import read_items

REMOTE = {"url": "https://example.org/a.hdf", "md5": None}


def is_image(name):
    return name.lower().endswith(IMAGE_SUFFIXES)


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def item(key, **changes):
    return Item(**{"key": key, "path": key, "sha256": sha(key), "bytes": 1, **changes})


def found(path, key=None):
    seen = path.stat()
    return FoundFile(key or path.name, str(path), seen.st_size, seen.st_mtime_ns)


def unknown(files):
    return [None] * len(files)


def test_files_come_in_the_order_of_their_keys(tmp_path):
    keys = ["a-b.jpg", "a/x.jpg", "a/y/z.jpg", "a.jpg", "a0/x.jpg", "ab.jpg", "b/ä.jpg", "b.JPG"]
    for key in keys:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(b"x")
    assert [file.key for file in files_below(tmp_path, is_image)] == sorted(keys)
    assert [path for _, path in names_below(tmp_path, bool)] == [
        str(tmp_path / key) for key in sorted(keys)
    ]


def test_of_two_ways_into_a_folder_the_first_by_name_counts(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.jpg").write_bytes(b"x")
    for name in ("link", "zlink"):
        (tmp_path / name).symlink_to(tmp_path / "real")
    assert [file.key for file in files_below(tmp_path, is_image)] == ["link/x.jpg"]


def test_a_file_that_goes_while_the_folder_is_walked_is_set_aside(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    files = files_below(tmp_path, bool)
    first = next(files)
    (tmp_path / "b.jpg").unlink()
    items, set_aside = take_inventory([first, *files], workers=1)
    assert [one.key for one in items] == ["a.jpg"]
    assert set_aside == [{"key": "b.jpg", "reason": "cannot be read (No such file or directory)"}]


@pytest.mark.parametrize("workers", [1, 2])
def test_many_files_come_back_in_order_with_their_sums(tmp_path, workers):
    rng = random.Random(0)
    data = [rng.randbytes(rng.randint(1, 3000)) for _ in range(40)]
    paths = [tmp_path / f"{number}" for number in range(40)]
    for path, content in zip(paths, data, strict=True):
        path.write_bytes(content)
    picked = [rng.randrange(40) for _ in range(hashing._BY_THREADS + 3 * hashing._BATCH_FILES + 7)]
    picked += [40]  # one that is not there
    paths.append(tmp_path / "gone")
    files = [FoundFile(f"{n}", str(paths[place]), 1000, 0) for n, place in enumerate(picked)]
    result = list(hash_files(files, unknown, workers=workers))
    assert [one.file for one in result] == files
    assert [one.content for one in result[:-1]] == [
        (hashlib.sha256(data[place]).digest(), len(data[place])) for place in picked[:-1]
    ]
    assert result[-1].content == "cannot be read (No such file or directory)"


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 2**20 + 2, 3 * 2**20])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_file_is_read_to_its_end_whatever_size_was_listed(tmp_path, size, off):
    data = random.Random(size).randbytes(size)
    (tmp_path / "a").write_bytes(data)
    expected = hashlib.sha256(data).digest(), size
    assert hashing.read_content((str(tmp_path / "a"), max(0, size + off), None)) == expected


def test_a_pipe_with_the_name_of_an_image_waits_for_nobody(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    _, set_aside = take_inventory(files_below(tmp_path, is_image), workers=1)
    assert set_aside == [{"key": "a.jpg", "reason": "empty file (0 bytes)"}]


def test_links_to_devices_and_links_in_a_circle_are_set_aside(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    items, set_aside = take_inventory(files_below(tmp_path, is_image), workers=1)
    assert [item.key for item in items] == ["a.jpg"]
    assert set_aside == [
        {"key": "circle.jpg", "reason": f"cannot be read ({os.strerror(errno.ELOOP)})"},
        {"key": "endless.jpg", "reason": "cannot be read (it is a device or a pipe, not a file)"},
    ]


def test_members_of_an_archive_are_read_in_its_order_and_come_in_the_order_given(monkeypatch):
    read = []

    def digest_stored(path, *, size, crc32):
        assert (size, crc32) == (9, 77)
        read.append(path)
        if path == "b.zip!stored:5:9":
            raise OSError(errno.EIO, "another checksum")
        return sha(path), 9

    monkeypatch.setattr(hashing, "digest_stored", digest_stored)
    paths = ["b.zip!stored:100:9", "a.zip!deflate:7:4", "b.zip!stored:5:9", "b.zip!stored:20:9"]
    contents = hashing.read_contents([(path, 9, 77) for path in paths])
    assert read == [paths[1], paths[2], paths[3], paths[0]]
    assert contents == [
        (bytes.fromhex(sha(paths[0])), 9), (bytes.fromhex(sha(paths[1])), 9),
        "cannot be read (another checksum)", (bytes.fromhex(sha(paths[3])), 9),
    ]  # fmt: skip


def test_the_address_of_a_member_stays_in_a_path_made_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hashing, "digest_stored", lambda path, **_: (sha(path), 9))
    members = [FoundFile("x/a.jpg", f"{tmp_path}/raw/a.zip!deflate:77:5", 9, 0)]
    items, _ = take_inventory(members, workers=1)
    assert items[0].path == "raw/a.zip!deflate:77:5"
    assert items[0].sha256 == sha("raw/a.zip!deflate:77:5")


def test_memory_does_not_grow_with_the_files(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    one = found(tmp_path / "a")

    def peak(count):
        files = (one._replace(key=f"class/{n:09d}") for n in range(count))
        tracemalloc.start()
        items, _ = take_inventory(files, workers=1)
        body = summary(items, [], dataset="", synthetic=False, source="")
        write_ordered(tmp_path / "m.jsonl", items.by_key())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert body["duplicates"] == count
        return most

    peak(2_000)  # what is imported and kept at the first use
    assert peak(16_000) < 1.5 * peak(4_000)


def oracle(items, shares, seed):
    """The splits as they were chosen when the whole list was held in dictionaries."""
    copies, owner = defaultdict(int), {}
    for content, label in items:
        copies[content] += 1
        owner[content] = min(owner.get(content, label or ""), label or "")
    members = defaultdict(list)
    for content, label in owner.items():
        members[label].append(content)
    chosen = {}
    for contents in members.values():
        contents.sort(key=lambda one: sha(f"{seed}:{one}"))
        total, start, ends = sum(copies[one] for one in contents), 0, []
        for number in range(1, 4):
            share = 0.0
            for name in SPLITS[:number]:
                share += shares.get(name, 0.0)
            ends.append(math.floor(share * total + 0.5 + 1e-9))
        for one in contents:
            chosen[one] = next(
                (name for name, end in zip(SPLITS, ends, strict=True) if start < end), None
            )
            start += copies[one]
    return [chosen[content] for content, _ in items]


@pytest.mark.parametrize("seed", range(8))
def test_splits_are_those_of_old(seed):
    rng = random.Random(seed)
    labels = [None, "river", "forest", "ä", "z"]
    items = [(sha(str(rng.randrange(300))), rng.choice(labels)) for _ in range(500)]
    shares = rng.choice(
        [{"train": 0.7, "val": 0.1, "test": 0.2}, {"train": 1 / 3, "test": 0.5}, {"val": 0.25}, {}]
    )
    expected = oracle(items, shares, seed)
    assert split_by_fraction(items, shares, seed=seed) == expected
    listing = Listing(
        Item(key=f"{n:03d}", path="", sha256=content, bytes=1, label=label)
        for n, (content, label) in enumerate(items)
    )
    listing.split_by_fraction(shares, seed=seed)
    assert [one.split for one in listing] == expected


def test_no_items_have_no_splits():
    assert split_by_fraction([], {"train": 1.0}, seed=0) == []


def test_a_listing_is_a_sequence_in_the_order_given_and_by_key():
    items = [item("b", labels=("x", "y")), item("a", label="ü"), item("c", split="test")]
    items.append(item("0", sha256=None, remote=REMOTE))
    listing = Listing(items)
    assert list(listing) == items
    assert (len(listing), listing[1], listing[-1], listing[1:3]) == (
        4, items[1], items[3], items[1:3],
    )  # fmt: skip
    assert [one.key for one in listing.by_key()] == ["0", "a", "b", "c"]
    with pytest.raises(IndexError):
        listing[4]


def test_a_summary_counts_lists_of_labels_and_files_that_are_not_here():
    items = [
        item("a", labels=("x", "y"), split="test"), item("b", labels=(), split="test"),
        item("c", sha256=None, bytes=5), item("d", sha256=None, bytes=6),
        item("e", sha256=sha("a"), label="x"),
    ]  # fmt: skip
    assert summary(items, [], dataset="d", synthetic=True, source="s") == {
        "dataset": "d", "synthetic": True, "source": "s", "items": 5, "bytes": 14,
        "classes": ["x", "y"], "duplicates": 2, "duplicates_across_splits": 2, "set_aside": [],
        "class_counts": {"test": {"none": 1, "x": 1, "y": 1}, "none": {"none": 2, "x": 1}},
    }  # fmt: skip


def test_of_many_files_set_aside_the_first_are_named_and_all_counted(tmp_path):
    rows = [{"key": f"{n}", "reason": "bad" if n % 3 else "empty"} for n in range(MOST_LISTED * 2)]
    few, many = SetAsides(rows[:MOST_LISTED]), SetAsides(rows)
    bodies = [
        summary([item("a")], rows, dataset="d", synthetic=False, source="s") for rows in (few, many)
    ]
    assert "set_aside_reasons" not in bodies[0]
    assert bodies[0]["set_aside"] == bodies[1]["set_aside"] == rows[:MOST_LISTED]
    assert bodies[1]["set_aside_reasons"] == {"empty": 1334, "bad": 2666}
    assert many.total == 2 * MOST_LISTED
    for number, body in enumerate(bodies):
        write_json(tmp_path / f"{number}.json", body)
    assert sum_manifests([tmp_path / "0.json", tmp_path / "1.json"])["set_aside"] == {
        "empty": 667 + 1334, "bad": 1333 + 2666,
    }  # fmt: skip


@pytest.mark.parametrize(
    "one",
    [
        item('a "quoted" \\ name\n\x00\x7f\u2028 ä 🌍'),
        item("a", label="ü", split="val"),
        item("a", labels=("b", 'c"')),
        item("a", labels=()),
        item("a", sha256=None, remote={"url": "https://x/ü?", "md5": "0" * 32}),
    ],
)
def test_a_line_is_canonical_json_and_comes_back(tmp_path, one):
    row = {name: getattr(one, name) for name in Item.__dataclass_fields__}
    row = {k: v for k, v in row.items() if k not in ("labels", "remote") or v is not None}
    assert line_of(one) == canonical(row)
    write_manifest(tmp_path / "m.jsonl", [one])
    assert list(read_manifest(tmp_path / "m.jsonl")) == [one]


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": 5}, {"remote": None}, {"remote": "https://x"}, {"remote": {"url": "https://x"}},
        {"remote": {"url": None, "md5": None}}, {"remote": {"url": "x", "md5": 1}}, {"more": 1},
    ],
)  # fmt: skip
def test_a_line_of_another_form_is_refused(tmp_path, change):
    row = {"bytes": 1, "key": "a", "label": None, "path": "a", "sha256": None, "split": None}
    (tmp_path / "m.jsonl").write_text(canonical(row) + "\n")
    assert list(read_manifest(tmp_path / "m.jsonl")) == [item("a", sha256=None)]
    (tmp_path / "m.jsonl").write_text(canonical({**row, **change}) + "\n")
    with pytest.raises(UserError, match="line 1"):
        list(read_manifest(tmp_path / "m.jsonl"))


def test_two_files_of_one_key_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"two/a: a second file of the name 'a'"):
        write_ordered(tmp_path / "m.jsonl", [item("a"), item("a", path="two/a")])
    assert not (tmp_path / "m.jsonl").exists()


def test_what_needs_the_bytes_refuses_a_file_that_was_not_downloaded(tmp_path):
    manifest = tmp_path / "m.jsonl"
    write_manifest(manifest, [item("a", sha256=None, label="x", remote=REMOTE)])
    with pytest.raises(UserError, match=r"m\.jsonl: a is listed at its source"):
        read_items(manifest)
    with pytest.raises(UserError, match=r"m\.jsonl: a is listed at its source"):
        sha256_here(next(read_manifest(manifest)), manifest)
