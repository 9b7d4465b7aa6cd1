"""A corpus with a selection holds the selected chips; one of many shards opens few at a time."""

import json
import pickle
import resource
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.test_pack_chips import chips, write_shard
from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.shards import corpus as corpus_module
from workflow_scripts.shards.corpus import Corpus, content_digest
from workflow_scripts.shards.layout import FORMAT_VERSION
from workflow_scripts.shards.selection import Selection, read_selection, write_selection
from workflow_scripts.shards.writer import ImageSample, write_image_shard

CLASSES = ["03", "17"]
ROWS = [1, 2, 3, 7, 9]  # of two files of 4 chips and one of 3
LABELS = [0, 1, 1, 0, 1]
SPLITS = [0, 2, 0, -1, 2]


@pytest.fixture
def days(tmp_path):
    """Three day files and all their samples."""
    samples = [chips(str(day), count=count, seed=day) for day, count in enumerate((4, 4, 3))]
    paths = [
        write_shard(tmp_path / "chips", f"2026-01-0{day + 1}", part, bands=["31", "6"])
        for day, part in enumerate(samples)
    ]
    return paths, [sample for part in samples for sample in part]


def selection(rows=ROWS, labels=LABELS, splits=SPLITS):
    return Selection(
        rows=np.array(rows), labels=np.array(labels, np.int32), splits=np.array(splits, np.int8)
    )


def write_index(folder, paths, chosen=None):
    folder.mkdir(parents=True, exist_ok=True)
    counts = [4, 4, 3]
    index = {
        "format_version": FORMAT_VERSION, "kind": "chips", "channels": 2, "bands": ["31", "6"],
        "classes": CLASSES if chosen is not None else [],
        "shards": [
            {"file": str(path), "sha256": file_sha256(path), "count": count}
            for path, count in zip(paths, counts, strict=True)
        ],
    }  # fmt: skip
    if chosen is not None:
        path = folder / "selection.h5"
        write_selection(path, chosen, classes=CLASSES)
        index["selection"] = {"file": path.name, "sha256": file_sha256(path), "count": len(chosen)}
    index["content"] = content_digest(index)
    (folder / "index.json").write_text(json.dumps(index))
    return folder / "index.json"


def assert_holds(corpus, rows, samples):
    assert len(corpus) == len(rows)
    assert corpus.keys == [samples[row].key for row in rows]
    everything = corpus.fingerprints
    assert len(set(everything.tolist())) == len(rows)
    for number, row in enumerate(rows):
        sample = samples[row]
        expected = (sample.counts - sample.offset[:, None, None]) * sample.scale[:, None, None]
        np.testing.assert_allclose(corpus.physical(number), expected, rtol=1e-6)
        assert corpus.key(number) == sample.key
        assert f"({sample.key})" in corpus.name(number)


def test_a_selection_chooses_labels_and_splits(tmp_path, days):
    paths, samples = days
    index = write_index(tmp_path / "bench", paths, selection())
    everything = Corpus(index)
    assert_holds(everything, ROWS, samples)
    assert everything.labels.tolist() == LABELS
    for split, rows, labels in (("train", [1, 3], [0, 1]), ("test", [2, 9], [1, 1])):
        part = Corpus(index, split)
        assert_holds(part, rows, samples)
        assert part.labels.tolist() == labels
    with pytest.raises(UserError, match="no sample of split 'val'"):
        Corpus(index, "val")
    whole = Corpus(write_index(tmp_path / "whole", paths))
    assert_holds(whole, range(11), samples)
    np.testing.assert_array_equal(everything.fingerprints, whole.fingerprints[ROWS])


def test_parts_go_through_the_files_once(tmp_path, days):
    paths, _ = days
    corpus = Corpus(write_index(tmp_path, paths, selection()))
    found = [(shard.path, rows.tolist()) for shard, rows in corpus.parts()]
    assert found == [(paths[0], [1, 2, 3]), (paths[1], [3]), (paths[2], [1])]
    second = Corpus(write_index(tmp_path, paths, selection([5], [0], [0])))
    assert [shard.path for shard, _ in second.parts()] == [paths[1]]


def test_the_content_digest_covers_the_selection(tmp_path, days):
    paths, _ = days
    contents = {
        json.loads(write_index(tmp_path / str(n), paths, chosen).read_text())["content"]
        for n, chosen in enumerate(
            [None, selection(), selection(labels=[1, *LABELS[1:]]), selection(splits=[2] * 5)]
        )
    }
    assert len(contents) == 4
    again = write_index(tmp_path / "again", paths, selection())
    assert json.loads(again.read_text())["content"] in contents


def test_another_selection_than_the_indexs_is_refused(tmp_path, days):
    paths, _ = days
    index = write_index(tmp_path, paths, selection())
    file = tmp_path / "selection.h5"
    write_selection(file, selection(labels=[0] * 5), classes=CLASSES)
    with pytest.raises(UserError, match=r"selection\.h5: its checksum is not the one in"):
        Corpus(index)
    for content, words in (
        (b"text", "not a readable HDF5 file"),
        (paths[0].read_bytes(), "format"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=words):
            read_selection(file)
    file.unlink()
    with pytest.raises(UserError, match="no such file, but the index"):
        Corpus(index)


def open_shards(corpus):
    return sum(shard.is_open for shard in corpus.shards)


def test_few_shards_are_open_at_a_time(tmp_path, days, monkeypatch):
    paths, samples = days
    monkeypatch.setattr(corpus_module, "MOST_OPEN", 2)
    corpus = Corpus(write_index(tmp_path, paths))
    order = np.random.default_rng(0).permutation(np.tile(np.arange(11), 5)).tolist()
    for number in order:
        assert corpus.key(number) == samples[number].key
        corpus.physical(number)
        assert open_shards(corpus) <= 2
    assert len(corpus.keys) == 11
    assert open_shards(corpus) <= 2
    copy = pickle.loads(pickle.dumps(corpus))
    np.testing.assert_array_equal(copy.physical(9), corpus.physical(9))
    corpus.close()
    assert open_shards(corpus) == 0


def test_two_thousand_shards_open_lazily_and_few_at_a_time(tmp_path):
    paths = []
    for number in range(2000):
        path = tmp_path / f"{number}.h5"
        if number < 20:
            write_image_shard(path, [ImageSample(key=f"{number}", data=b"%d" % number, height=1,
                                                 width=1)], classes=[])  # fmt: skip
        else:
            path.hardlink_to(paths[number % 20])
        paths.append(path)
    rows = [{"file": path.name, "sha256": "", "count": 1} for path in paths]
    index = {"format_version": 2, "kind": "images", "channels": 3, "classes": [], "shards": rows}
    (tmp_path / "index.json").write_text(json.dumps(index))
    corpus = Corpus(tmp_path / "index.json")
    assert len(corpus) == 2000
    assert open_shards(corpus) == 0
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        for number in np.random.default_rng(0).permutation(2000).tolist():
            assert corpus.image(number) == b"%d" % (number % 20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert open_shards(corpus) == corpus_module.MOST_OPEN


def test_threads_share_a_corpus_of_more_shards_than_stay_open(tmp_path, days, monkeypatch):
    paths, _ = days
    monkeypatch.setattr(corpus_module, "MOST_OPEN", 1)
    corpus = Corpus(write_index(tmp_path, paths))
    expected = [corpus.physical(number) for number in range(11)]
    order = np.random.default_rng(1).integers(0, 11, 400).tolist()
    with ThreadPoolExecutor(4) as pool:
        for number, found in zip(order, pool.map(corpus.physical, order), strict=True):
            np.testing.assert_array_equal(found, expected[number])


def test_unlabelled_chips_have_no_label_and_no_file_is_opened_for_it(tmp_path, days):
    corpus = Corpus(write_index(tmp_path, days[0]))
    assert corpus.labels.tolist() == [-1] * 11
    assert open_shards(corpus) == 0
