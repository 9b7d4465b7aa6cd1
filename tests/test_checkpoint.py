import errno
import os
import threading
import time

import pytest
import torch
from tiny_runs import Trainee, assert_same, run_ranks, tiny_images

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain import checkpoint, parallel, saved

BOTH = pytest.mark.parametrize("background", [False, True], ids=["waiting", "background"])


@pytest.fixture
def index(tmp_path):
    return tiny_images(tmp_path / "corpus")


def names(root):
    return sorted(path.name for path in root.iterdir())


def loaded(index, root, step):
    one = Trainee(index)
    one.load(root, step)
    return one.tensors()


@BOTH
def test_a_checkpoint_brings_back_weights_moments_and_meta_bit_for_bit(tmp_path, index, background):
    one = Trainee(index)
    one.steps(0, 3)
    saver, window = one.saver(tmp_path / "c", background=background), {"count": 2}
    saver.save(3, {"window": window})
    expected = one.tensors()
    window["count"] = 3  # the next step's
    following = one.steps(3, 6)
    saver.finish()
    other = Trainee(index)
    meta = other.load(tmp_path / "c", 3)
    assert meta == {"window": {"count": 2}, "step": 3}
    assert_same(other.tensors(), expected)
    assert other.steps(3, 6) == following
    assert_same(other.tensors(), one.tensors())


@pytest.mark.parametrize("keep", [1, 3])
@BOTH
def test_the_last_few_are_kept_and_nothing_half_written_counts(tmp_path, index, background, keep):
    root, one = tmp_path / "c", Trainee(index)
    assert saved.latest(root) is None
    saver = one.saver(root, keep=keep, background=background)
    for step in (1, 2, 3, 4):
        saver.save(step, {})
    saver.finish()
    kept = [2, 3, 4][-keep:]
    assert names(root) == [f"step-{step:09d}" for step in kept]
    (root / ".step-000000009.0000000a.tmp").mkdir()
    (root / ".step-000000001.old").mkdir()
    (root / "step-12").mkdir()  # not a name of ours
    assert saved.steps(root) == kept
    assert saved.latest(root) == 4
    saved.clear_leftovers(root)
    assert names(root) == [*(f"step-{step:09d}" for step in kept), "step-12"]


def test_a_save_that_dies_leaves_the_one_before(tmp_path, index, monkeypatch):
    root, one = tmp_path / "c", Trainee(index)
    one.save(root, 1)
    before = one.tensors()

    def dying(*_args, **_kwargs):
        raise KeyboardInterrupt

    one.steps(0, 1)
    for place, name in ((checkpoint, "write_text"), (checkpoint.Saver, "_publish")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, dying)
            with pytest.raises(KeyboardInterrupt):
                one.save(root, 2)
        assert saved.latest(root) == 1
    assert_same(loaded(index, root, 1), before)
    one.save(root, 2)
    assert saved.steps(root) == [1, 2]
    saved.clear_leftovers(root)
    assert names(root) == ["step-000000001", "step-000000002"]


def test_one_that_is_removed_has_lost_its_name_before_its_files(tmp_path, monkeypatch):
    folder = tmp_path / "step-000000001"
    (folder / "inside").mkdir(parents=True)

    def dying(path, **_):
        if path.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", dying)
        with pytest.raises(KeyboardInterrupt):
            saved.remove(folder)
    assert saved.steps(tmp_path) == []
    saved.clear_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_in_the_background_training_goes_on_and_one_at_most_is_in_flight(
    tmp_path, index, monkeypatch
):
    root, one, write = tmp_path / "c", Trainee(index), checkpoint.dcp.save
    may_write, events = threading.Event(), []

    def held(*args, **kwargs):
        assert may_write.wait(60)
        events.append("begins")
        time.sleep(0.05)
        write(*args, **kwargs)
        events.append("ends")

    monkeypatch.setattr(checkpoint.dcp, "save", held)
    saver = one.saver(root, background=True)
    saver.save(1, {})
    saver.check()
    assert saved.latest(root) is None
    first = one.tensors()
    one.steps(0, 2)
    may_write.set()
    saver.save(2, {})
    assert saved.steps(root) == [1]
    saver.finish()
    assert events == ["begins", "ends"] * 2
    assert saved.steps(root) == [1, 2]
    assert_same(loaded(index, root, 1), first)
    assert_same(loaded(index, root, 2), one.tensors())
    assert saver.reserve > 3 * 0.05


# What can go wrong


def fill_disk(monkeypatch, rank=0):
    """Each byte that a rank writes from now on meets a full disk."""
    empty = checkpoint._empty

    def without_room(folder):
        empty(folder)
        (folder / f"__{rank}_0.distcp").symlink_to("/dev/full")

    monkeypatch.setattr(checkpoint, "_empty", without_room)


def save_and_check(saver, step):
    """Save, and ask at following steps whether it failed."""
    saver.save(step, {})
    for _ in range(3000):
        saver.check()
        time.sleep(0.01)


@BOTH
def test_a_full_disk_is_named_and_costs_no_earlier_checkpoint(
    tmp_path, index, monkeypatch, background
):
    root, one = tmp_path / "c", Trainee(index)
    saver = one.saver(root, keep=1, background=background)
    saver.save(1, {})
    saver.finish()
    before = one.tensors()
    one.steps(0, 1)
    with monkeypatch.context() as patch:
        fill_disk(patch)
        words = (
            rf"step-000000002: the checkpoint cannot be written \(.*{os.strerror(errno.ENOSPC)}\); "
            "the one of step 1 is whole"
        )
        with pytest.raises(UserError, match=words):
            save_and_check(saver, 2)
    assert names(root) == ["step-000000001"]
    assert_same(loaded(index, root, 1), before)
    saver.save(2, {})
    saver.finish()
    assert saved.steps(root) == [2]


def cut(file):
    file.write_bytes(file.read_bytes()[:100])


def remove(file):
    file.unlink()


@pytest.mark.parametrize("damage", [cut, remove])
@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata", "meta.json"])
def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path, index, damage, name):
    root, one = tmp_path / "c", Trainee(index)
    one.steps(0, 1)
    for step, then in ((1, "begin the run anew"), (2, "go on from the one of step 1")):
        one.save(root, step, more="x" * 100)
        damage(root / f"step-00000000{step}" / name)
        words = rf"step-00000000{step}: the checkpoint cannot be loaded .*; delete .* to {then}"
        with pytest.raises(UserError, match=words):
            one.load(root, step)


# Two ranks


def two_ranks(ranks, folder, index):
    parallel.join(ranks, timeout_s=120)
    one = Trainee(index, "full_shard", ranks)
    one.steps(0, 2)
    one.save(folder / "waiting", 2)
    saver = one.saver(folder / "background", background=True)
    saver.save(2, {"rank": "any"})
    expected = one.tensors()
    one.steps(2, 4)  # its messages and those of the writers travel at the same time
    with pytest.MonkeyPatch.context() as patch:
        saver.finish()
        fill_disk(patch, rank=1)
        saver.save(4, {})
        with pytest.raises(UserError, match=r"No space left on device.*of step 2 is whole"):
            saver.finish()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saver, "_publish", lambda *_: os.mkdir(folder))
        saver.save(4, {})
        with pytest.raises(UserError, match="File exists" if ranks.is_first else "rank 0 failed"):
            saver.finish()
    saver.save(4, {})
    saver.finish()
    found = {"2": expected, "4": one.tensors()}
    if ranks.is_first:
        torch.save(found, folder / "expected.pt")
    parallel.leave()


@pytest.mark.distributed
def test_two_ranks_write_in_the_background_what_they_write_waiting_and_fail_together(
    tmp_path, index
):
    run_ranks(2, two_ranks, tmp_path, index)
    expected = torch.load(tmp_path / "expected.pt", weights_only=True)
    assert names(tmp_path / "background") == ["step-000000002", "step-000000004"]
    assert_same(loaded(index, tmp_path / "waiting", 2), expected["2"])
    assert_same(loaded(index, tmp_path / "background", 2), expected["2"])
    assert_same(loaded(index, tmp_path / "background", 4), expected["4"])
