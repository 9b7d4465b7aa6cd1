"""The shard format: what comes back, what is noticed, and the example of its specification."""

import io
import json
import multiprocessing
import os
import pickle
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from PIL import Image

from workflow_scripts.errors import UserError
from workflow_scripts.shards import layout
from workflow_scripts.shards.corpus import Corpus, content_digest
from workflow_scripts.shards.reader import SampleError, Shard
from workflow_scripts.shards.writer import (
    ChipSample,
    ImageSample,
    write_chip_shard,
    write_image_shard,
)

ROOT = Path(__file__).resolve().parent.parent
CLASSES = ["forest", "river"]


def png(value, size=(5, 4)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def image_samples(count=4):
    return [
        ImageSample(
            key=f"scenes/ä{n}.png", data=png(n), height=4, width=5, label=n % 3 - 1, split=n % 2
        )
        for n in range(count)
    ]


def chip_samples(count=3):
    rng = np.random.default_rng(0)
    return [
        ChipSample(
            key=f"granule:{n}:0",
            counts=rng.integers(0, 32768, (2, 8, 8)).astype(np.uint16),
            scale=np.array([0.01, 2e-5]),
            offset=np.array([1577.3, -0.0]),
            fields={
                "row": n,
                "latitude": 1.5 * n,
                "corner_latitude": 1.5 * n + np.arange(4.0),
                "platform": "Terra",
                "time": 1_000_000_000 + n,
                "night": n == 1,
            },
            filled=np.eye(2, 8, k=n, dtype=bool) if n else None,
        )
        for n in range(count)
    ]


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "shard-00000.h5"
    write_image_shard(path, image_samples(), classes=CLASSES)
    return path


@pytest.fixture
def chips(tmp_path):
    path = tmp_path / "2026-01-01.h5"
    write_chip_shard(path, chip_samples(), bands=["31", "6"], size=8, attributes={"quantity": "r"})
    return path


def write_index(folder, shards, **more):
    rows = [{"file": path.name, "sha256": str(n), "count": c} for n, (path, c) in enumerate(shards)]
    index = {
        "format_version": layout.FORMAT_VERSION,
        "kind": "images",
        "channels": 3,
        "classes": CLASSES,
    }
    (folder / "index.json").write_text(json.dumps({**index, "shards": rows, **more}))
    return folder / "index.json"


def test_images_come_back_as_written(images):
    shard = Shard(images)
    assert shard.kind == layout.IMAGES
    assert shard.classes == CLASSES
    assert [shard.image(n) for n in range(len(shard))] == [s.data for s in image_samples()]
    assert shard.keys == [f"scenes/ä{n}.png" for n in range(4)]
    assert shard.labels.tolist() == [-1, 0, 1, -1]
    assert shard.splits.tolist() == [0, 1, 0, 1]


def test_chips_come_back_in_counts_and_physical_values(chips):
    shard, samples = Shard(chips), chip_samples()
    assert (shard.kind, shard.bands, shard.chip_shape) == ("chips", ["31", "6"], (2, 8, 8))
    assert shard.quantity == "r"
    for number, sample in enumerate(samples):
        np.testing.assert_array_equal(shard.counts(number), sample.counts)
        expected = (sample.counts.astype(float) - sample.offset[:, None, None]) * sample.scale[
            :, None, None
        ]
        np.testing.assert_allclose(shard.physical(number), expected, rtol=1e-6)
    fields = shard.fields()
    assert fields["row"].tolist() == [0, 1, 2]
    assert fields["platform"].tolist() == ["Terra"] * 3
    assert fields["corner_latitude"][2].tolist() == [3.0, 4.0, 5.0, 6.0]
    assert list(shard.fields("night", "row")) == ["night", "row"]
    assert [shard.filled(n).sum() for n in range(3)] == [0, 2, 2]
    assert shard.filled(1)[1, 2]


def test_pixels_without_a_value_are_nan_and_keep_their_reserved_count(tmp_path):
    counts = np.array([[[0, 32767], [32768, 65535]]], np.uint16)
    sample = ChipSample(key="g", counts=counts, scale=np.array([2.0]), offset=np.array([1.0]))
    write_chip_shard(tmp_path / "a.h5", [sample], bands=["31"], size=2, attributes={})
    shard = Shard(tmp_path / "a.h5")
    np.testing.assert_array_equal(shard.physical(0), [[[-2.0, 65532.0], [np.nan, np.nan]]])
    np.testing.assert_array_equal(shard.counts(0), counts)


def test_xarray_opens_a_shard_of_chips_with_named_dimensions(chips, tmp_path):
    with xarray.open_dataset(chips) as day:
        assert dict(day.sizes) == {"chip": 3, "band": 2, "y": 8, "x": 8, "corner": 4}
        assert day["counts"].dims == ("chip", "band", "y", "x")
        assert day["filled"].dims == ("chip", "band", "y")
        assert day["corner_latitude"].dims == ("chip", "corner")
        assert day["band"].values.tolist() == ["31", "6"]
        np.testing.assert_array_equal(day["counts"].sel(band="6")[1], chip_samples()[1].counts[1])
        assert day["time"].values[2] == np.datetime64("2001-09-09T01:46:42")
    empty = tmp_path / "empty.h5"
    write_chip_shard(empty, [], bands=["31"], size=8, attributes={})
    with xarray.open_dataset(empty) as day:
        assert day.sizes["chip"] == 0


def test_memory_does_not_grow_with_the_chips_of_a_shard(tmp_path):
    def samples(count):
        for number in range(count):
            yield ChipSample(
                key=str(number), counts=np.full((6, 64, 64), number, np.uint16),
                scale=np.ones(6), offset=np.zeros(6),
            )  # fmt: skip

    def peak(count):
        tracemalloc.start()
        bands = [str(band) for band in range(6)]
        write_chip_shard(tmp_path / "a.h5", samples(count), bands=bands, size=64, attributes={})
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    # 400 chips hold 20 MB; the block that is copied holds 17 MB.
    few, many = peak(400), peak(1600)
    assert many < few + 8 * 2**20


def test_a_chip_of_another_shape_leaves_no_shard(tmp_path):
    sample = chip_samples(1)[0]
    with pytest.raises(ValueError, match=r"expected \(2, 9, 9\)"):
        write_chip_shard(tmp_path / "a.h5", [sample], bands=["31", "6"], size=9, attributes={})
    assert list(tmp_path.iterdir()) == []


def test_the_same_samples_give_the_same_bytes(images, chips, tmp_path):
    write_image_shard(tmp_path / "again.h5", image_samples(), classes=CLASSES)
    assert (tmp_path / "again.h5").read_bytes() == images.read_bytes()
    write_chip_shard(
        tmp_path / "again.h5", chip_samples(), bands=["31", "6"], size=8,
        attributes={"quantity": "r"},
    )  # fmt: skip
    assert (tmp_path / "again.h5").read_bytes() == chips.read_bytes()


def test_data_lie_in_one_piece_without_filters(images, chips):
    for path, name in ((images, layout.POOL), (chips, layout.COUNTS)):
        with h5py.File(path) as file:
            assert file[name].chunks is None
            assert file[name].compression is None


def test_a_writer_that_fails_leaves_no_shard(tmp_path):
    def samples():
        yield from image_samples(2)
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="full"):
        write_image_shard(tmp_path / "shard.h5", samples(), classes=CLASSES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "name"), [("images", layout.POOL), ("chips", layout.COUNTS)])
def test_a_damaged_sample_is_noticed_and_the_others_can_be_read(request, kind, name):
    path = request.getfixturevalue(kind)
    with h5py.File(path) as file:
        place = file[name].id.get_offset()
    data = bytearray(path.read_bytes())
    data[place + 3] ^= 1
    path.write_bytes(data)
    shard = Shard(path)
    read = shard.image if kind == "images" else shard.counts
    with pytest.raises(UserError, match=r"sample 0 \(.*does not match its checksum"):
        read(0)
    assert len(read(1)) > 0


def test_a_truncated_shard_is_refused(images):
    images.write_bytes(images.read_bytes()[:-50])
    with pytest.raises(UserError, match="not a readable HDF5 file"):
        len(Shard(images))


def test_a_newer_version_is_refused(images):
    with h5py.File(images, "r+") as file:
        file.attrs["format_version"] = layout.FORMAT_VERSION + 1
    with pytest.raises(UserError, match="format version 3 is newer than 2"):
        len(Shard(images))


def test_an_older_version_is_refused(chips):
    with h5py.File(chips, "r+") as file:
        file.attrs["format_version"] = 1
    with pytest.raises(UserError, match="format version 1 is older than 2"):
        len(Shard(chips))


def test_another_hdf5_file_is_refused(tmp_path):
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(UserError, match="attribute format is None"):
        len(Shard(tmp_path / "other.h5"))


def test_a_kind_that_is_not_known_is_refused(images):
    with h5py.File(images, "r+") as file:
        file.attrs["kind"] = "films"
    with pytest.raises(UserError, match="kind is 'films', expected images or chips"):
        len(Shard(images))


def test_a_shard_in_chunks_is_refused(images):
    with h5py.File(images, "r+") as file:
        pool = file[layout.POOL][:]
        del file[layout.POOL]
        file.create_dataset(layout.POOL, data=pool, chunks=(64,))
    with pytest.raises(UserError, match=r"pool has chunks .* expected one contiguous piece"):
        Shard(images).image(0)


def test_a_read_that_is_cut_short_goes_on(images, monkeypatch):
    shard, read = Shard(images), os.preadv
    expected = [bytes(shard.image(n)) for n in range(4)]
    monkeypatch.setattr(os, "preadv", lambda fd, parts, at: read(fd, [parts[0][:7]], at))
    assert [bytes(shard.image(n)) for n in range(4)] == expected


def test_a_file_cut_off_while_it_is_open_is_noticed(images):
    shard = Shard(images)
    shard.image(0)
    with h5py.File(images) as file:
        place = file[layout.POOL].id.get_offset()
    with images.open("r+b") as file:
        file.truncate(place + 5)
    with pytest.raises(SampleError, match=r"sample 3 .* has 0 of \d+ bytes: the file is cut off"):
        shard.image(3)


def test_a_missing_shard_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such shard"):
        len(Shard(tmp_path / "gone.h5"))


def test_a_pickled_shard_opens_its_own_file(images):
    shard = Shard(images)
    first = shard.image(0)
    copy = pickle.loads(pickle.dumps(shard))
    assert not copy.is_open
    assert copy.image(0) == first
    shard.close()
    assert copy.image(1) == image_samples()[1].data
    assert shard.image(1) == copy.image(1)  # a closed one opens again


def test_an_open_shard_can_be_handed_to_another_process(images):
    shard = Shard(images)
    shard.image(0)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(shard.image, [2]) == [image_samples()[2].data]


def test_fingerprints_tell_samples_apart_by_content(images, chips):
    assert len(set(Shard(images).fingerprints.tolist())) == 4
    assert len(set(Shard(chips).fingerprints.tolist())) == 3


def test_a_corpus_numbers_the_samples_of_its_shards_in_order(images):
    second = images.with_name("shard-00001.h5")
    write_image_shard(second, image_samples(3), classes=CLASSES)
    corpus = Corpus(write_index(images.parent, [(images, 4), (second, 3)]))
    assert len(corpus) == 7
    expected = image_samples() + image_samples(3)
    assert [corpus.image(n) for n in range(7)] == [sample.data for sample in expected]
    assert corpus.keys == [sample.key for sample in expected]
    assert corpus.labels.tolist() == [sample.label for sample in expected]
    assert "shard-00001.h5 sample 0" in corpus.name(4)


def test_a_corpus_of_one_split_holds_that_split(images):
    index = write_index(images.parent, [(images, 4)])
    corpus = Corpus(index, split="val")
    assert corpus.keys == ["scenes/ä1.png", "scenes/ä3.png"]
    assert corpus.image(1) == image_samples()[3].data
    with pytest.raises(UserError, match="no sample of split 'test'"):
        Corpus(index, split="test")


def test_an_index_of_a_newer_format_is_refused(images):
    with pytest.raises(UserError, match="newer"):
        Corpus(write_index(images.parent, [(images, 4)], format_version=layout.FORMAT_VERSION + 1))


def test_the_content_digest_depends_on_the_samples_and_not_on_names():
    one = {"shards": [{"file": "a", "sha256": "1"}, {"file": "b", "sha256": "2"}]}
    renamed = {"shards": [{"file": "c", "sha256": "1"}, {"file": "d", "sha256": "2"}]}
    other = {"shards": [{"file": "a", "sha256": "1"}, {"file": "b", "sha256": "3"}]}
    assert content_digest(one) == content_digest(renamed) != content_digest(other)


def test_the_specification_names_every_dataset():
    text = (ROOT / "docs" / "shards.md").read_text()
    names = [getattr(layout, name) for name in vars(layout) if name.isupper()]
    texts = [name for name in names if isinstance(name, str)]
    assert [name for name in texts if f"`{name}" not in text] == []
