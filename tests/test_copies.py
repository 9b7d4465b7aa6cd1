"""Copies of shards on a node's own disk: how they are made, and how a corpus reads them."""

import fcntl
import logging
import os
import resource
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_runs import tiny_chips, tiny_images

from workflow_scripts.errors import UserError
from workflow_scripts.shards import copies as copies_module
from workflow_scripts.shards import copy_folder
from workflow_scripts.shards.copies import Copies
from workflow_scripts.shards.copy_folder import CopyFolder, NoRoom, Stopped, own_folder, prepare
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.reader import SampleError


@pytest.fixture
def disk(tmp_path):
    """A node's own disk."""
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


@pytest.fixture
def look_often(monkeypatch):
    monkeypatch.setattr(copies_module, "_LOOK_SECONDS", 0.0)


def place(disk, content="c" * 64):
    folder = own_folder(str(disk), content)
    os.close(prepare(folder))
    return folder


def sums(corpus):
    return [row["sha256"] for row in corpus.index["shards"]]


def copied(corpus, folder, numbers=None, **how):
    """Copy some shards of a corpus, all by default."""
    target = CopyFolder(folder, **how)
    for number, sha256 in enumerate(sums(corpus)):
        if numbers is None or number in numbers:
            target.copy(corpus.shards[number].path, sha256)
    return target


def write_to(path, data):
    path.chmod(0o600)
    path.write_bytes(data)


def read(corpus):
    """Everything that a batch is made of."""
    samples = np.arange(len(corpus))
    labels = corpus.labels_of(samples).tolist()
    if corpus.kind == "images":
        return [(bytes(corpus.image(n)), corpus.image_size(n)) for n in samples.tolist()], labels
    counts = np.empty((len(corpus), *corpus.chip_shape), np.uint16)
    corpus.counts_into(samples, counts, note=lambda _: None)
    return counts.tobytes(), labels, [part.tobytes() for part in corpus.calibrations_of(samples)]


@pytest.mark.parametrize("make", [tiny_images, tiny_chips])
def test_a_corpus_read_from_copies_is_the_same_and_opens_no_shard(tmp_path, disk, make):
    plain = Corpus(make(tmp_path), "train")
    corpus = Corpus(plain.path, "train", Copies(place(disk)))
    copied(corpus, corpus.copies.folder)
    expected = read(plain)
    for shard in plain.shards:
        shard.path.unlink()
    assert read(corpus) == expected
    assert corpus.local_reads == len(corpus)


@pytest.mark.usefixtures("look_often")
@pytest.mark.parametrize("make", [tiny_images, tiny_chips])
def test_a_shard_that_is_open_goes_on_with_its_copy_once_it_is_there(tmp_path, disk, make):
    corpus = Corpus(make(tmp_path), "train", Copies(place(disk)))
    expected = read(corpus)
    assert corpus.local_reads == 0
    copied(corpus, corpus.copies.folder)
    for shard in corpus.shards:
        shard.path.unlink()
    assert read(corpus) == expected
    assert corpus.local_reads == len(corpus)


def test_an_open_shard_does_not_look_for_its_copy_at_every_read(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(copies_module, "_LOOK_SECONDS", 1e9)
    corpus = Corpus(tiny_images(tmp_path), "train", Copies(place(disk)))
    asked = []
    for shard in corpus.shards:
        original = shard.copy.opened
        shard.copy.opened = lambda original=original: (asked.append(1), original())[1]
    for _ in range(50):
        corpus.image(0)
    assert len(asked) == 1


@pytest.mark.parametrize("make", [tiny_images, tiny_chips])
@pytest.mark.parametrize("sample", [0, 7])
def test_a_sample_damaged_in_the_copy_is_read_again_from_the_shard(
    tmp_path, disk, caplog, make, sample
):
    plain = Corpus(make(tmp_path), "train")
    corpus = Corpus(plain.path, "train", Copies(place(disk)))
    copied(corpus, corpus.copies.folder)
    data = plain.image(sample) if plain.kind == "images" else plain.counts(sample).tobytes()
    path = corpus.shards[0].copy.path
    content = bytearray(path.read_bytes())
    content[content.index(bytes(data)) + 3] ^= 1
    write_to(path, content)
    os.utime(path, ns=(0, 0))  # as rot does it, that changes no time
    with caplog.at_level(logging.WARNING):
        assert read(corpus) == read(plain)
    assert f"{path}: this local copy is damaged at sample {sample}" in caplog.text
    assert len(caplog.records) == 1


def test_what_is_damaged_in_the_shard_too_is_an_error_that_names_the_shard(tmp_path, disk):
    corpus = Corpus(tiny_images(tmp_path), "train", Copies(place(disk)))
    copied(corpus, corpus.copies.folder)
    for path in (corpus.shards[0].path, corpus.shards[0].copy.path):
        content = bytearray(path.read_bytes())
        content[content.index(bytes(corpus.image(3))) + 3] ^= 1
        corpus.close()
        write_to(path, content)
        os.utime(path, ns=(0, 0))
    with pytest.raises(SampleError, match=rf"{corpus.shards[0].path}: sample 3 .* checksum"):
        corpus.image(3)


@pytest.mark.parametrize("fault", ["longer", "labels", "cut off", "empty", "folder"])
def test_a_copy_that_was_written_to_is_not_read(tmp_path, disk, caplog, fault):
    plain = Corpus(tiny_images(tmp_path), "train")
    corpus = Corpus(plain.path, "train", Copies(place(disk)))
    copied(corpus, corpus.copies.folder)
    path = corpus.shards[0].copy.path
    content = bytearray(path.read_bytes())
    if fault == "labels":
        labels = plain.shards[0].labels.tobytes()
        content[content.index(labels)] = 2
    changed = {"longer": content + b"x", "cut off": content[:900], "empty": b""}
    if fault == "folder":
        path.unlink()
        path.mkdir()
    else:
        write_to(path, changed.get(fault, content))
    with caplog.at_level(logging.WARNING):
        assert read(corpus) == read(plain)
    assert caplog.text.count(f"{path}: this local copy") == 1


@pytest.mark.parametrize("kept", [0, 300, 900])
def test_a_copy_that_cannot_be_opened_as_hdf5_is_not_read(tmp_path, disk, caplog, kept):
    plain = Corpus(tiny_images(tmp_path), "train")
    corpus = Corpus(plain.path, "train", Copies(place(disk)))
    copied(corpus, corpus.copies.folder)
    path = corpus.shards[1].copy.path
    write_to(path, path.read_bytes()[:kept])
    os.utime(path, ns=(0, 0))
    with caplog.at_level(logging.WARNING):
        assert read(corpus) == read(plain)
    assert f"{path}: this local copy cannot be read" in caplog.text


@pytest.mark.usefixtures("look_often")
def test_a_copy_that_is_gone_when_the_shard_is_opened_again_is_told_once(tmp_path, disk, caplog):
    plain = Corpus(tiny_images(tmp_path), "train")
    corpus = Corpus(plain.path, "train", Copies(place(disk)))
    copied(corpus, corpus.copies.folder)
    expected = read(corpus)
    shutil.rmtree(disk)
    assert read(corpus) == expected  # what is open stays open
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            corpus.close()
            assert read(corpus) == expected
    assert caplog.text.count("this local copy is gone") == len(corpus.shards)
    disk.mkdir()
    copied(corpus, place(disk))
    before = corpus.local_reads
    assert read(corpus) == expected
    assert corpus.local_reads == before + len(corpus)


def test_a_shard_with_other_bytes_than_the_index_says_is_not_copied(tmp_path, disk):
    corpus = Corpus(tiny_images(tmp_path))
    with corpus.shards[1].path.open("ab") as file:
        file.write(b"x")
    folder = place(disk)
    with pytest.raises(UserError, match=rf"{corpus.shards[1].path}: sha256 \w+, expected \w+"):
        copied(corpus, folder)
    assert [path.name for path in folder.glob("*.h5")] == [f"{sums(corpus)[0]}.h5"]
    assert not list(folder.glob(".*.tmp"))
    corpus.shards[1].path.unlink()
    with pytest.raises(UserError, match=r"shard-00001\.h5: cannot be read \(No such file"):
        copied(corpus, folder, [1])


def test_a_copier_that_is_stopped_leaves_nothing_half_done(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(copy_folder, "_PIECE", 1000)
    corpus, folder = Corpus(tiny_images(tmp_path)), place(disk)
    pieces = iter([False] * 5 + [True])
    with pytest.raises(Stopped):
        copied(corpus, folder, stopped=lambda: next(pieces))
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_disk_that_takes_no_more_ends_the_copying_and_keeps_what_is_whole(tmp_path, disk):
    corpus, folder = Corpus(tiny_images(tmp_path)), place(disk)
    copied(corpus, folder, [0])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(NoRoom, match="cannot be written"):
            copied(corpus, folder, [1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name for path in folder.iterdir()} == {".lock", f"{sums(corpus)[0]}.h5"}


def test_a_part_of_the_disk_stays_free(tmp_path, disk, monkeypatch):
    corpus, folder = Corpus(tiny_images(tmp_path)), place(disk)
    size = corpus.shards[0].path.stat().st_size
    usage = SimpleNamespace(total=20 * size, free=2 * size - 1)
    monkeypatch.setattr(copy_folder.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoRoom, match=r"room for 0\.00 GB on this disk"):
        copied(corpus, folder)
    usage.free = 2 * size
    copied(corpus, folder, [0])


def test_room_is_taken_from_corpora_that_nobody_holds_and_from_the_last_remains(tmp_path, disk):
    corpus = Corpus(tiny_images(tmp_path / "own", shards=4))
    idle = Corpus(tiny_images(tmp_path / "idle", seed=1))
    held = Corpus(tiny_images(tmp_path / "held", seed=2))
    folders = {name: place(disk, name * 64) for name in "abc"}
    copied(held, folders["a"])
    copied(idle, folders["b"])
    copied(corpus, folders["c"])
    foreign = disk / "foreign.h5"
    foreign.write_bytes(b"x" * 100)
    folders["c"] = place(disk, "c" * 64)  # sets aside what it finds
    holder = os.open(folders["a"] / ".lock", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    first, *others = sums(corpus)
    target = CopyFolder(folders["c"])
    assert target.keep(first)
    target.most = sum(
        path.stat().st_size for path in (disk / f"orbweaver-{os.getuid()}").rglob("*.h5")
    )
    new = Corpus(tiny_images(tmp_path / "new", seed=3, count=20, shards=1))
    target.copy(new.shards[0].path, sums(new)[0], last=others)
    os.close(holder)
    left = {path.name for path in folders["c"].glob(".*.left")}
    assert left < {f".{name}.left" for name in others}
    assert f".{others[-1]}.left" not in left
    assert target.has(first)
    assert target.has(sums(new)[0])
    assert not list(folders["b"].glob("*.h5"))
    assert len(list(folders["a"].glob("*.h5"))) == 2
    assert foreign.exists()


def test_what_an_earlier_segment_left_is_read_only_after_it_was_verified(tmp_path, disk):
    corpus = Corpus(tiny_images(tmp_path, shards=3))
    folder = place(disk)
    copied(corpus, folder)
    whole, rotten, other = (folder / f"{name}.h5" for name in sums(corpus))
    content = bytearray(rotten.read_bytes())
    content[-1] ^= 1
    write_to(rotten, content)
    (folder / ".half.tmp").write_bytes(b"x")
    os.close(prepare(folder))
    target = CopyFolder(folder)
    assert not any(target.has(name) for name in sums(corpus))
    assert not (folder / ".half.tmp").exists()
    assert [target.keep(name) for name in sums(corpus)] == [True, False, True]
    assert whole.exists()
    assert other.exists()
    assert {path.name for path in folder.iterdir()} == {".lock", whole.name, other.name}


def test_a_second_run_on_the_node_leaves_the_copies_of_the_first_in_place(tmp_path, disk):
    corpus = Corpus(tiny_images(tmp_path))
    folder = place(disk)
    held = prepare(folder)
    copied(corpus, folder)
    os.close(prepare(folder))
    assert all(CopyFolder(folder).has(name) for name in sums(corpus))
    os.close(held)


def test_a_folder_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(UserError, match=r"\$NOWHERE/x: a variable in it is not set"):
        own_folder("$NOWHERE/x", "c" * 64)
    monkeypatch.setenv("NOWHERE", str(tmp_path / "none"))
    with pytest.raises(UserError, match="none/x: no such folder"):
        prepare(own_folder("${NOWHERE}/x", "c" * 64))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: no such folder"):
        prepare(own_folder(str(tmp_path / "file"), "c" * 64))
    (tmp_path / f"orbweaver-{os.getuid()}").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        prepare(own_folder(str(tmp_path), "c" * 64))
