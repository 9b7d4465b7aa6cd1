"""Which samples of a benchmark are in the pretraining corpus: by key, by stored bytes, of chips."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from image_sets import pack, photos, write_dataset

from workflow_scripts.probe.overlap import shared_samples
from workflow_scripts.probe.told import told_splits
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.split.samples import Sides


class Rows:
    """A corpus that is only told of: shards of keys and fingerprints."""

    def __init__(self, kind, *shards):
        self.kind, self.shards = kind, shards

    def __len__(self):
        return sum(len(shard.keys) for shard in self.shards)

    def parts(self):
        for shard in self.shards:
            yield shard, np.arange(len(shard.keys))

    @property
    def keys(self):
        return [key for shard in self.shards for key in shard.keys]

    @property
    def fingerprints(self):
        return np.concatenate([shard.fingerprints for shard in self.shards])


class Shard:
    def __init__(self, keys, fingerprints):
        self.keys, self.fingerprints = keys, np.array(fingerprints, np.uint64)


def test_images_are_the_same_by_their_bytes_or_by_their_key(tmp_path):
    mine = photos(range(6))
    _, benchmark = pack([write_dataset(tmp_path, "places", mine)], tmp_path / "bench")
    copied = {"copy.jpg": mine["river/003.jpg"]}
    (other, *_) = photos([9]).values()
    changed = {"river/001.jpg": other}  # the same place, other bytes
    web = write_dataset(tmp_path / "a", "web", copied | photos([20], label="sea"))
    places = write_dataset(tmp_path / "b", "places", changed)
    _, corpus = pack([web, places], tmp_path / "corpus", shard_bytes=1)
    assert len(corpus.shards) == 3
    same = dict(zip(benchmark.keys, shared_samples(benchmark, corpus), strict=True))
    assert {key for key, one in same.items() if one} == {
        "places/river/001.jpg", "places/river/003.jpg",
    }  # fmt: skip
    assert shared_samples(benchmark, benchmark).all()


def test_tiles_of_a_benchmark_s_image_are_that_image(tmp_path):
    manifests = [write_dataset(tmp_path, "places", photos([0, 1]))]
    _, benchmark = pack(manifests, tmp_path / "bench")
    first = [write_dataset(tmp_path / "x", "places", photos([0]))]
    _, tiles = pack(first, tmp_path / "tiles", large="tile", max_side=8)
    assert all("@" in key for key in tiles.keys)
    same = dict(zip(benchmark.keys, shared_samples(benchmark, tiles), strict=True))
    assert same == {"places/river/000.jpg": True, "places/river/001.jpg": False}


def test_chips_are_the_same_by_their_keys_alone():
    benchmark = Rows("chips", Shard(["a", "b", "c@1,2"], [1, 2, 3]))
    corpus = Rows("chips", Shard(["x", "c@1,2"], [1, 9]), Shard(["c", "b"], [7, 8]))
    assert shared_samples(benchmark, corpus).tolist() == [False, True, True]


@pytest.mark.parametrize("case", range(10))
def test_it_is_what_comparing_each_with_each_finds(case):
    random = np.random.default_rng(case)

    def some(count):
        keys = [f"k{n}" for n in random.integers(0, 40, count)]
        return Shard(list(dict.fromkeys(keys)), random.integers(0, 40, len({*keys})))

    benchmark = Rows("images", some(12), some(3))
    benchmark.shards[1].keys = [f"other-{key}" for key in benchmark.shards[1].keys]
    corpus = Rows("images", some(8), some(5), some(1))
    expected = [
        key in corpus.keys or fingerprint in corpus.fingerprints
        for key, fingerprint in zip(benchmark.keys, benchmark.fingerprints, strict=True)
    ]
    assert shared_samples(benchmark, corpus).tolist() == expected


def test_memory_is_that_of_the_benchmark_and_of_a_shard():
    benchmark = Rows("images", Shard([f"b{n}" for n in range(100)], range(100)))

    class Many(Rows):
        def parts(self):
            for number in range(self.shards[0]):
                keys = [f"{number}-{row}" for row in range(1000)]
                yield Shard(keys, np.arange(1000) + 1000 * number), np.arange(1000)

    most = []
    for count in (5, 100):
        tracemalloc.start()
        assert shared_samples(benchmark, Many("images", count)).all()
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] < 1.2 * most[0]


def test_samples_that_any_of_several_corpora_held_count_once():
    sides = Sides(name="own", digest="", train=np.array([0, 1]), test=np.array([2, 3]))
    benchmark = SimpleNamespace(
        corpus=Rows("images", Shard(["a", "b", "c", "d"], [1, 2, 3, 4])), splits=[sides]
    )
    own, start = Rows("images", Shard(["a"], [9])), Rows("images", Shard(["a", "c"], [8, 7]))
    assert told_splits(benchmark, [own, start])[0]["overlap"] == {"train": 1, "test": 1}
    assert told_splits(benchmark, [own])[0]["overlap"] == {"train": 1, "test": 0}
    assert told_splits(benchmark, [])[0]["overlap"] is None


def test_a_corpus_of_a_real_index_counts_only_its_selected_samples(tmp_path):
    manifests = [write_dataset(tmp_path, "places", photos([0, 1], "train") | photos([2], "test"))]
    pack(manifests, tmp_path / "bench")
    index = tmp_path / "bench" / "index.json"
    whole, test = Corpus(index), Corpus(index, "test")
    assert shared_samples(test, whole).tolist() == [True]
    assert shared_samples(whole, test).sum() == 1
