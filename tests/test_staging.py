"""Copying shards to a node's own disk while a run trains: real trainers and real copiers."""

import fcntl
import json
import logging
import os
import signal
import time
from contextlib import ExitStack

import pytest
from tiny_runs import (
    _index,
    curve,
    ended,
    start,
    tiny_chips,
    tiny_images,
    tiny_recipe,
    train_here,
    wait_for,
)

from tests.workspace import Workspace
from workflow_scripts.digests import file_sha256
from workflow_scripts.pretrain import staging
from workflow_scripts.pretrain.construct import order_of
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.staging import Place, Staging, staged
from workflow_scripts.shards import copies
from workflow_scripts.shards.copy_folder import CopyFolder, own_folder
from workflow_scripts.shards.corpus import Corpus, content_digest
from workflow_scripts.shards.writer import ImageSample, write_image_shard

WINDOWS = tiny_recipe(shuffle_window=2, epochs=2)
pytestmark = pytest.mark.usefixtures("training_here", "patient")


@pytest.fixture
def patient(monkeypatch):
    """Copiers give way to all others: on a busy machine they take their time to end."""
    monkeypatch.setattr(staging, "_SECONDS_TO_END", 300.0)


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A node's own disk, as its variable names it."""
    (tmp_path / "disk").mkdir()
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    return tmp_path / "disk"


def folder_of(disk, index):
    return own_folder(str(disk), content_digest(json.loads(index.read_text())))


def facts(run, number=1):
    return json.loads((run / "segments" / f"{number}.provenance.json").read_text())["staged"]


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def copying(disk, index, recipe, folder, *, most_gb=None, rank=0, ranks=1):
    """A segment's staging without its training."""
    place = Place(
        stage_to=str(disk), most_gb=most_gb, ranks=Ranks(rank=rank, world=ranks, local_rank=rank)
    )
    return staged(place, index=index, recipe=recipe, checkpoints=folder)


def names(folder, pattern="*.h5"):
    return {path.stem for path in folder.glob(pattern)}


def ends_after_copying(monkeypatch, count):
    """Segments in this process end once so many copies are there: their copiers may be slower."""
    facts = Staging.facts

    def late(self, reads):
        until(lambda: len(names(self.copies.folder)) == count)
        return facts(self, reads)

    monkeypatch.setattr(Staging, "facts", late)


@pytest.mark.distributed
def test_ranks_and_workers_read_copies_and_see_what_they_saw_without(tmp_path, disk):
    index = tiny_images(tmp_path / "corpus", shards=5, count=60)
    plain, run, recipe = tmp_path / "plain", tmp_path / "ranks", {**WINDOWS, "epochs": 4000}
    job = start(
        recipe, index, run, "--ranks", "2", "--workers", "2", "--stage-to", "${NODE_DISK}",
        "--log-every", "1", "--checkpoint-every", "10",
    )  # fmt: skip
    until(lambda: len(names(folder_of(disk, index))) == 5)
    time.sleep(copies._LOOK_SECONDS)  # so seldom a shard that is open looks for its copy
    for _ in range(2):
        wait_for(run, 1, job)  # some step, then at least ten that read copies
    job.send_signal(signal.SIGUSR1)
    steps = ended(job, run)["end_step"]
    train_here(recipe, index, plain, "--log-every", "1", steps=steps)
    assert [step for step, _ in curve(run)] == list(range(1, steps + 1))
    losses, alone = ([loss for _, loss in curve(one)][:50] for one in (run, plain))
    assert losses == pytest.approx(alone, rel=1e-5)
    told = facts(run)
    assert told["shards"] == told["copied"] == 5
    assert told["found"] == 0
    assert told["bytes"] == sum(path.stat().st_size for path in index.parent.glob("*.h5"))
    assert told["seconds"] > 0
    assert told["folder"] == str(folder_of(disk, index))
    assert 0 < told["samples_read"] <= steps * recipe["batch"] // 2
    assert facts(plain) is None


@pytest.mark.parametrize("make", [tiny_images, tiny_chips])
def test_the_curve_and_the_weights_are_the_same_with_copies_and_without(
    tmp_path, disk, make, capfd, monkeypatch
):
    index = make(tmp_path / "corpus")
    count = len(Corpus(index).shards)
    if make is tiny_images:
        rows = json.loads(index.read_text())["shards"]
    with copying(disk, index, WINDOWS, tmp_path):  # so that all is read from copies
        until(lambda: len(names(folder_of(disk, index))) == count)
    ends_after_copying(monkeypatch, count)
    runs = {}
    for name, more in (("without", ()), ("with", ("--stage-to", "$NODE_DISK", "--workers", "1"))):
        segment = train_here(WINDOWS, index, tmp_path / name, *more)
        (weights,) = (tmp_path / name / "checkpoints").glob("*/step-*/*.distcp")
        runs[name] = curve(tmp_path / name), segment, file_sha256(weights)
    assert runs["with"] == runs["without"]
    told = facts(tmp_path / "with")
    assert told["found"] == told["shards"]
    assert told["copied"] == 0
    assert "local copies: 0 of" in capfd.readouterr().err
    if make is tiny_images:
        assert names(folder_of(disk, index)) == {row["sha256"] for row in rows}


@pytest.mark.parametrize(
    ("place", "told"),
    [("/no/such/folder", "/no/such/folder: no such folder"), ("$NOT_SET_HERE", "is not set here")],
)
def test_a_missing_folder_is_a_warning_and_the_run_reads_the_shards(tmp_path, caplog, place, told):
    index = tiny_images(tmp_path / "corpus")
    with caplog.at_level(logging.WARNING):
        train_here(tiny_recipe(epochs=1), index, tmp_path / "run", "--stage-to", place)
    assert told in caplog.text
    assert "shards are read where they are" in caplog.text
    assert facts(tmp_path / "run") is None


def test_a_shard_that_fails_its_checksum_is_named_and_read_where_it_is(
    tmp_path, disk, capfd, monkeypatch
):
    index = tiny_images(tmp_path / "corpus", shards=3)
    damaged = index.parent / "shard-00001.h5"
    with damaged.open("ab") as file:
        file.write(b"x")  # behind the samples, so that each of them can be read
    with copying(disk, index, WINDOWS, tmp_path) as one:
        until(lambda: f"{damaged}: sha256" in capfd.readouterr().err)
        until(lambda: len(names(folder_of(disk, index))) == 2)
        assert one.facts(0)["copied"] == 2
        ends_after_copying(monkeypatch, 2)
        train_here(WINDOWS, index, tmp_path / "run", "--stage-to", str(disk), "--workers", "1")
    told = facts(tmp_path / "run")
    assert (told["shards"], told["copied"] + told["found"]) == (3, 2)


def test_what_does_not_fit_is_what_is_read_last(tmp_path, disk, capfd):
    index = tiny_images(tmp_path / "corpus", shards=6, count=60)
    rows = json.loads(index.read_text())["shards"]
    recipe, corpus = tiny_recipe(shuffle_window=1), Corpus(index)
    size = max(shard.path.stat().st_size for shard in corpus.shards)
    with copying(disk, index, recipe, tmp_path, most_gb=3.5 * size / 1e9) as one:
        until(lambda: len(names(folder_of(disk, index))) == 3)
        until(lambda: "shards are read where they are" in capfd.readouterr().err)
        assert one.facts(0)["copied"] == 3
    first = order_of(recipe, corpus).shards_from(0)[:3]
    assert names(folder_of(disk, index)) == {rows[number]["sha256"] for number in first}


def test_only_shards_of_the_runs_split_are_copied(tmp_path, disk):
    tiny_images(tmp_path / "corpus", shards=2)
    path = tmp_path / "corpus" / "shard-00002.h5"
    data = bytes(Corpus(tmp_path / "corpus" / "index.json").image(0))
    sample = ImageSample(key="test", data=data, height=26, width=22, label=0, split=2)
    write_image_shard(path, [sample], classes=["a", "b", "c"])
    own = json.loads((tmp_path / "corpus" / "index.json").read_text())
    shards = [(tmp_path / "corpus" / row["file"], row["count"]) for row in own.pop("shards")]
    index = _index(tmp_path / "corpus", [*shards, (path, 1)], **own)
    with copying(disk, index, WINDOWS, tmp_path) as one:
        until(lambda: len(names(folder_of(disk, index))) == 2)
        assert one.facts(0)["shards"] == 2


def test_remains_of_earlier_segments_are_verified_again_and_damaged_ones_replaced(tmp_path, disk):
    index = tiny_images(tmp_path / "corpus", shards=4)
    folder = folder_of(disk, index)
    with copying(disk, index, WINDOWS, tmp_path):
        until(lambda: len(names(folder)) == 4)
    damaged, gone, *_ = sorted(folder.glob("*.h5"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.chmod(0o600)
    damaged.write_bytes(content)
    gone.unlink()
    (folder / ".killed.tmp").write_text("x")
    with copying(disk, index, WINDOWS, tmp_path) as one:
        assert not (folder / ".killed.tmp").exists()
        until(lambda: len(names(folder)) == 4)
        one._copying.send_signal(signal.SIGUSR1)  # Slurm warns every process of a step
        told = one.facts(0)
    assert (told["copied"], told["found"]) == (2, 2)
    assert all(file_sha256(path) == path.stem for path in folder.glob("*.h5"))


def test_a_second_run_on_the_node_waits_and_takes_over_what_is_missing(tmp_path, disk):
    index = tiny_images(tmp_path / "corpus", shards=4)
    folder = folder_of(disk, index)
    size = max(path.stat().st_size for path in index.parent.glob("*.h5"))
    with ExitStack() as first:
        one = first.enter_context(copying(disk, index, WINDOWS, tmp_path, most_gb=2.5 * size / 1e9))
        until(lambda: len(names(folder)) == 2)
        with copying(disk, index, WINDOWS, tmp_path) as two:
            assert len(names(folder)) == 2  # it sets nothing aside that is in use
            first.close()
            until(lambda: len(names(folder)) == 4)
            told = two.facts(0)
    assert one.facts(0)["copied"] == 2
    assert (told["copied"], told["found"]) == (2, 2)


def test_a_rank_that_copies_nothing_reads_the_same_folder(tmp_path, disk):
    index = tiny_images(tmp_path / "corpus")
    with copying(disk, index, WINDOWS, tmp_path, rank=1, ranks=2) as other:
        assert other.copies.folder == folder_of(disk, index)
        assert not other.copies.folder.exists()
        assert other.facts(7)["samples_read"] == 7


def test_a_copier_that_was_killed_is_told_and_what_it_copied_is_read(tmp_path, disk, caplog):
    index = tiny_images(tmp_path / "corpus")
    with caplog.at_level(logging.WARNING), copying(disk, index, WINDOWS, tmp_path) as one:
        until(lambda: len(names(folder_of(disk, index))) == 2)
        one._copying.kill()
        corpus = Corpus(index, "train", one.copies)
        corpus.image(0)
        told = one.facts(corpus.local_reads)
    assert "its copier ended with status -9" in caplog.text
    assert told == {"folder": str(folder_of(disk, index)), "samples_read": 1}


def hung(index):
    """Make a read of the last shard wait for ever; returns what would let it go on."""
    path = index.parent / "shard-00001.h5"
    path.unlink()
    os.mkfifo(path)
    return os.open(path, os.O_RDWR)


def test_a_copier_that_hangs_in_a_file_system_holds_up_nothing(tmp_path, disk, monkeypatch, caplog):
    monkeypatch.setattr(staging, "_SECONDS_TO_END", 0.2)
    index = tiny_images(tmp_path / "corpus")
    folder, recipe = folder_of(disk, index), tiny_recipe(split=None)
    stuck = hung(index)
    with caplog.at_level(logging.WARNING), copying(disk, index, recipe, tmp_path):
        until(lambda: names(folder, ".*.tmp"))
    assert "did not end in time and was killed" in caplog.text
    os.close(stuck)
    with copying(disk, tiny_images(tmp_path / "corpus"), recipe, tmp_path):
        until(lambda: len(names(folder)) == 2)
    assert not names(folder, ".*.tmp")


@pytest.mark.pipeline
def test_the_folders_variables_reach_the_node_unexpanded(tmp_path):
    (tmp_path / "workflow").mkdir()
    workspace = Workspace(tmp_path / "workflow")
    workspace.edit("tiny.yaml", "log_every: 1}", "log_every: 1, stage_to: '$HOME/a b'}")
    segment = "results/runs/scenes-mae/segments/1.json"
    done = workspace.snakemake(segment, "--dry-run", "--printshellcmds")
    (line,) = (line for line in done.stdout.splitlines() if "workflow_scripts.pretrain" in line)
    assert " --stage-to '$HOME/a b' " in line
    assert "--stage-gb" not in line


@pytest.mark.kill
@pytest.mark.distributed
@pytest.mark.parametrize("ranks", ["1", "2"])
def test_a_copier_ends_with_a_killed_trainer_and_removes_what_it_began(tmp_path, disk, ranks):
    index = tiny_images(tmp_path / "corpus")
    with (index.parent / "shard-00000.h5").open("ab") as file:
        file.truncate(2**29)  # half a gigabyte, so that copying it takes a while
    own = json.loads(index.read_text())
    shards = [(index.parent / row["file"], row["count"]) for row in own.pop("shards")]
    index = _index(index.parent, shards, **own)
    folder = folder_of(disk, index)
    process = start(
        tiny_recipe(epochs=500), index, tmp_path / "run", "--ranks", ranks, "--stage-to", str(disk)
    )
    until(lambda: names(folder, ".*.tmp"))
    process.kill()
    process.communicate()
    until(lambda: not names(folder, ".*.tmp"))
    lock = os.open(folder / ".lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.close(lock)
    assert not CopyFolder(folder).has(file_sha256(index.parent / "shard-00000.h5"))
