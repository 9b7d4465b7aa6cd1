"""Packing chips: an index over day files, its statistics, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.pack.chips import pack_chips
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.writer import ChipSample, write_chip_shard

CHIPS = {
    "corpus": "sea",
    "kind": "chips",
    "datasets": ["sea"],
    "synthetic": True,
    "splits": None,
    "max_side": None,
    "quality": 95,
    "shard_bytes": 2**28,
    "max_set_aside": 0.0,
    "exclude": [],
}


def write_day(folder, date, *, count=3, bands=("31", "6"), seed=0, **changes):
    rng = np.random.default_rng(seed)
    samples = [
        ChipSample(
            key=f"{date}:{number}",
            counts=rng.integers(0, 32768, (len(bands), 8, 8)).astype(np.uint16),
            scale=rng.uniform(1e-3, 1e-2, len(bands)),
            offset=rng.uniform(0, 2000, len(bands)),
        )
        for number in range(count)
    ]
    path = folder / "chips" / "sea" / f"{date}.h5"
    write_chip_shard(path, samples, bands=list(bands), size=8, attributes={"quantity": "radiance"})
    shard = {"file": path.name, "sha256": file_sha256(path), "count": count, "bytes": 0}
    tile = {"dataset": "sea", "synthetic": True, "shard": shard, **changes}
    path.with_suffix(".json").write_text(json.dumps(tile))
    return path, samples


def test_day_files_are_indexed_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths, samples = zip(*(write_day(Path(), f"2026-01-0{n}", seed=n) for n in (1, 2)), strict=True)
    index = Path("shards/sea/index.json")
    body = pack_chips(CHIPS, paths, index)
    assert [row["file"] for row in body["shards"]] == [
        f"../../chips/sea/2026-01-0{n}.h5" for n in (1, 2)
    ]
    assert not list(Path("shards").rglob("*.h5"))
    assert (body["channels"], body["bands"]) == (2, ["31", "6"])
    assert body["class_counts"] == {"none": {"none": 6}}
    values = np.concatenate(
        [
            ((s.counts - s.offset[:, None, None]) * s.scale[:, None, None]).reshape(2, -1)
            for s in (*samples[0], *samples[1])
        ],
        axis=1,
    )
    np.testing.assert_allclose(body["mean"], values.mean(1), rtol=1e-12)
    np.testing.assert_allclose(body["std"], values.std(1), rtol=1e-12)
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps({**body, "kind": "chips", "format_version": 1}))
    corpus = Corpus(index)
    np.testing.assert_array_equal(corpus.shards[1].counts(0), samples[1][0].counts)


def test_the_deviation_survives_a_mean_far_from_zero(tmp_path):
    path = tmp_path / "2026-01-01.h5"
    counts = np.full((1, 8, 8), 30000, np.uint16)
    counts[0, :4] += 1
    samples = [
        ChipSample(key=str(n), counts=counts, scale=np.ones(1), offset=np.full(1, -1e9))
        for n in range(50)
    ]
    write_chip_shard(path, samples, bands=["31"], size=8, attributes={})
    shard = {"sha256": file_sha256(path), "count": 50}
    tile = {"dataset": "sea", "synthetic": True, "shard": shard}
    path.with_suffix(".json").write_text(json.dumps(tile))
    body = pack_chips(CHIPS, [path], tmp_path / "index.json")
    np.testing.assert_allclose(body["std"], [0.5], rtol=1e-9)


def test_a_day_without_chips_is_left_out(tmp_path):
    full, _ = write_day(tmp_path, "2026-01-01")
    night, _ = write_day(tmp_path, "2026-01-02", count=0)
    body = pack_chips(CHIPS, [full, night], tmp_path / "index.json")
    assert [row["count"] for row in body["shards"]] == [3]
    with pytest.raises(UserError, match="no chip in 1 day files"):
        pack_chips(CHIPS, [night], tmp_path / "index.json")


def test_a_day_file_that_is_not_what_tile_wrote_is_refused(tmp_path):
    path, _ = write_day(tmp_path, "2026-01-01")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="run tile for this day again"):
        pack_chips(CHIPS, [path], tmp_path / "index.json")


def test_days_of_different_bands_are_refused(tmp_path):
    one, _ = write_day(tmp_path, "2026-01-01")
    two, _ = write_day(tmp_path, "2026-01-02", bands=("31", "7"))
    with pytest.raises(UserError, match=r"bands \['31', '7'\] differ"):
        pack_chips(CHIPS, [one, two], tmp_path / "index.json")


def test_synthetic_chips_make_no_real_corpus(tmp_path):
    path, _ = write_day(tmp_path, "2026-01-01")
    with pytest.raises(UserError, match="not marked synthetic"):
        pack_chips({**CHIPS, "synthetic": False}, [path], tmp_path / "index.json")


def test_settings_for_images_are_refused_for_chips(tmp_path):
    path, _ = write_day(tmp_path, "2026-01-01")
    with pytest.raises(UserError, match=r"splits is \['train'\], but it does not apply to chips"):
        pack_chips({**CHIPS, "splits": ["train"]}, [path], tmp_path / "index.json")
