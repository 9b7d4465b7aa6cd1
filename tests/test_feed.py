"""What happens when a sample cannot be read, or the process that reads it dies."""

import logging
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tiny_runs import tensors, tiny_batches, tiny_chips, tiny_images, tiny_recipe

from workflow_scripts.errors import UserError
from workflow_scripts.loader.feed import Feed
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.reader import SampleError, Shard

BAD = 5  # of the corpora below


def corpus_of(folder, make=tiny_images):
    return Corpus(make(folder), "train")


def damage(corpus, sample=BAD):
    """Flip a bit of one stored sample."""
    shard = corpus.shards[0]
    data = (
        bytes(corpus.image(sample)) if corpus.kind == "images" else corpus.counts(sample).tobytes()
    )
    content = bytearray(shard.path.read_bytes())
    content[content.index(data) + 3] ^= 1
    shard.path.write_bytes(content)
    corpus.close()


def fed(corpus, *, workers, start=0, cells=4, prefetch=2, **how):
    batches = tiny_batches(corpus, tiny_recipe(), cells=cells, **how)
    feed = Feed(batches, start=start, workers=workers, pin=False, prefetch=prefetch)
    # Images are valid until the next batch is asked for.
    return feed, [{name: value.clone() for name, value in batch.items()} for batch in feed]


def place_of(corpus, sample=BAD):
    """Step and slot of a sample in the first epoch."""
    order = tiny_batches(corpus, tiny_recipe()).order
    for step in range(order.steps_per_epoch):
        if sample in order.batch_at(step):
            return step, order.batch_at(step).tolist().index(sample)
    raise AssertionError("the tail that is dropped holds it")


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (2, 1), (1, 5)])
def test_batches_are_the_same_however_far_workers_are_ahead(tmp_path, workers, prefetch):
    corpus = corpus_of(tmp_path)
    _, expected = fed(corpus, workers=0)
    _, found = fed(corpus, workers=workers, prefetch=prefetch)
    assert len(found) == len(expected) > prefetch + 1  # the ring comes round
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("make", [tiny_images, tiny_chips])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_sample_ends_it_with_shard_index_and_key_and_no_traceback(
    tmp_path, make, workers
):
    corpus = corpus_of(tmp_path, make)
    key = corpus.key(BAD)
    damage(corpus)
    with pytest.raises(UserError, match=rf"\.h5: sample {BAD} \({key}\) does not match") as error:
        fed(corpus, workers=workers)
    assert "Traceback" not in str(error.value)
    assert "--verify" in str(error.value)


@pytest.mark.parametrize("make", [tiny_images, tiny_chips])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_skipped_sample_gives_its_place_to_the_next_and_is_counted(
    tmp_path, caplog, make, workers
):
    corpus = corpus_of(tmp_path, make)
    _, whole = fed(corpus, workers=0)
    step, slot = place_of(corpus)
    damage(corpus)
    with caplog.at_level(logging.WARNING):
        feed, found = fed(corpus, workers=workers, skip_bad=True, retries=1)
    assert feed.skipped == 2  # once an epoch
    assert feed.retried == 2
    if not workers:
        assert f"skipped: {corpus.shards[0].path}: sample {BAD}" in caplog.text
    instead = tensors(tiny_batches(corpus, tiny_recipe(), cells=4).of(np.array([BAD + 1]), epoch=0))
    for name, value in instead.items():
        assert torch.equal(found[step][name][slot], value[0]), name
    others = [n for n in range(8) if n != slot]
    for number in range(len(whole) // 2):
        for name in whole[number]:
            rows = others if number == step else range(8)
            for row in rows:
                assert torch.equal(found[number][name][row], whole[number][name][row])


def test_a_read_that_fails_once_is_tried_again_and_changes_nothing(tmp_path, caplog):
    corpus = corpus_of(tmp_path)
    _, whole = fed(corpus, workers=0)
    read, failed = corpus.image, []

    def flaky(sample):
        if sample % 7 == 0 and sample not in failed:
            failed.append(sample)
            raise SampleError(f"shard sample {sample}: cannot be read (Input/output error)")
        return read(sample)

    corpus.image = flaky
    feed, found = fed(corpus, workers=0)
    assert len(failed) == feed.retried > 3
    assert feed.skipped == 0
    assert "trying again: shard sample 7" in caplog.text
    for one, other in zip(found, whole, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_lost_shard_is_not_skipped_sample_by_sample(tmp_path):
    corpus = corpus_of(tmp_path)
    corpus.shards[1].path.unlink()
    with pytest.raises(UserError, match=r"shard-00001\.h5: no such shard"):
        fed(corpus, workers=0, skip_bad=True)
    (tmp_path / "other").mkdir()
    corpus = corpus_of(tmp_path / "other")
    corpus.image = lambda sample: b"nothing"
    with pytest.raises(UserError, match="16 samples in a row cannot be read"):
        fed(corpus, workers=0, skip_bad=True)


class Lethal(Corpus):
    """A corpus of which one sample kills the process that reads it, so many times."""

    def __init__(self, index, *, times, folder):
        super().__init__(index, "train")
        self.times, self.folder = times, folder

    def image(self, index):
        if index == BAD and len(list(self.folder.iterdir())) < self.times:
            (self.folder / f"{time.monotonic_ns()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().image(index)


@pytest.fixture
def lethal(tmp_path):
    (tmp_path / "deaths").mkdir()
    index = tiny_images(tmp_path)
    return lambda times: Lethal(index, times=times, folder=tmp_path / "deaths")


def test_workers_start_again_after_one_was_killed_and_no_batch_is_lost(lethal, caplog):
    _, whole = fed(lethal(0), workers=0)
    feed, found = fed(lethal(2), workers=2)
    assert feed.restarts == 2
    assert feed.skipped == 0
    assert len(found) == len(whole) == 10
    for one, other in zip(found, whole, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)
    assert f"shard-00000.h5 sample {BAD} (image5)" in caplog.text


def test_a_sample_that_kills_its_worker_every_time_ends_the_run_or_is_skipped(lethal):
    with pytest.raises(UserError, match=rf"died at .* sample {BAD} \(image5\).*attempt 2"):
        fed(lethal(99), workers=1, retries=1)
    feed, found = fed(lethal(99), workers=1, retries=0, skip_bad=True)
    assert len(found) == 10
    assert feed.skipped == 2


def test_another_error_of_a_worker_is_not_taken_for_a_death(tmp_path):
    corpus = corpus_of(tmp_path)

    def broken(sample):
        raise RuntimeError("out of luck")

    corpus.image = broken
    with pytest.raises(RuntimeError, match="out of luck"):
        fed(corpus, workers=1)


def test_a_death_does_not_break_into_the_training_step(lethal):
    corpus = lethal(1)
    before = signal.getsignal(signal.SIGCHLD)
    feed = Feed(tiny_batches(corpus, tiny_recipe()), start=0, workers=1, pin=False)
    batches = iter(feed)
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) == before
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:  # a step in which the worker dies
        pass
    assert len(list(batches)) == 9


def idle_workers(feed):
    """The processes of all workers, once all that may be made ahead is made."""
    end, seen, since = time.monotonic() + 120, None, 0.0
    while time.monotonic() < end:
        (pids, samples), before = zip(*feed._board.tolist(), strict=True), seen
        # A worker that has not begun has no process yet; an idle one is at no sample.
        seen = pids if -1 not in pids and {*samples} == {-1} else None
        since = time.monotonic() if seen is None or seen != before else since
        if time.monotonic() - since > 0.5:
            return pids
        time.sleep(0.005)
    raise AssertionError(feed._board)


def test_workers_killed_with_large_batches_on_their_way_leave_no_half_message(tmp_path):
    corpus = corpus_of(tmp_path)
    _, whole = fed(corpus, workers=0, cells=20_000)
    batches = tiny_batches(corpus, tiny_recipe(), cells=20_000)
    feed = Feed(batches, start=0, workers=2, pin=False)
    found = []
    for batch in feed:
        found.append({name: value.clone() for name, value in batch.items()})
        if len(found) == 1:
            for pid in idle_workers(feed):
                os.kill(pid, signal.SIGKILL)
    assert feed.restarts == 1
    for one, other in zip(found, whole, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_an_idle_workers_death_makes_no_sample_a_bad_one(tmp_path):
    batches = tiny_batches(corpus_of(tmp_path), tiny_recipe(), skip_bad=True, retries=1)
    feed = Feed(batches, start=0, workers=1, pin=False)
    for number, _ in enumerate(feed):
        if number in (0, 3, 6):  # oftener than retries, but each time after some batches
            (pid,) = idle_workers(feed)
            os.kill(pid, signal.SIGKILL)
    assert feed.restarts == 3
    assert feed.skipped == 0
    assert not batches.lethal


def test_a_shard_that_cannot_be_opened_at_first_is_tried_again(tmp_path, monkeypatch):
    corpus = corpus_of(tmp_path)
    _, whole = fed(corpus, workers=0)
    corpus.close()
    opened = Shard._open
    failed = []

    def flaky(shard):
        if len(failed) < 2:
            failed.append(shard.path)
            raise UserError(f"{shard.path}: cannot be opened (Stale file handle)")
        return opened(shard)

    monkeypatch.setattr(Shard, "_open", flaky)
    feed, found = fed(corpus, workers=0)
    assert feed.retried == 2
    assert all(torch.equal(found[0][name], whole[0][name]) for name in whole[0])


def test_a_feed_can_be_read_in_a_thread(tmp_path):
    corpus = corpus_of(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        for workers in (0, 1):
            assert len(pool.submit(fed, corpus, workers=workers).result()[1]) == 10
