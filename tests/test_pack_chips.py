"""Packing chips: an index over day files, its statistics, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from workflow_scripts.config_check import check_config
from workflow_scripts.dates import compress
from workflow_scripts.digests import canonical, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.pack.chips import Day, pack_chips, pack_day
from workflow_scripts.pack.statistics import ChipStatistics
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.layout import FORMAT_VERSION
from workflow_scripts.shards.writer import ChipSample, write_chip_shard

REASONS = (65535, 65533, 65531, 65501, 32768)  # counts that are no value


def recipe_of(*dates, **changes):
    days = {"sea": compress(dates)}
    return {
        "corpus": "sea", "kind": "chips", "datasets": ["sea"], "days": days, "synthetic": True,
        **changes,
    }  # fmt: skip


def write_shard(root, date, samples, *, bands, dataset="sea", **changes):
    """A day file and what tile says of it, as far as packing reads it."""
    path = root / dataset / f"{date}.h5"
    size = samples[0].counts.shape[-1] if samples else 8
    attributes = {"quantity": "radiance"}
    write_chip_shard(path, samples, bands=list(bands), size=size, attributes=attributes)
    shard = {"file": path.name, "sha256": file_sha256(path), "count": len(samples), "bytes": 0}
    tile = {"dataset": dataset, "synthetic": True, "shard": shard, **changes}
    path.with_suffix(".json").write_text(json.dumps(tile))
    return path


def chips(date, *, count=3, bands=2, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        counts = rng.integers(0, 32768, (bands, 8, 8)).astype(np.uint16)
        holes = rng.random(counts.shape) < missing
        counts[holes] = rng.choice(REASONS, int(holes.sum()))
        samples.append(
            ChipSample(
                key=f"{date}:{number}", counts=counts, scale=rng.uniform(1e-3, 1e-2, bands),
                offset=rng.uniform(0, 2000, bands),
            )
        )  # fmt: skip
    return samples


def write_day(root, date, *, bands=("31", "6"), **options):
    samples = chips(date, bands=len(bands), **options)
    return write_shard(root, date, samples, bands=bands), samples


def physical(samples):
    """Values (bands, pixels of all samples), float64, NaN where there is none."""
    parts = []
    for sample in samples:
        counts = sample.counts.astype(np.float64)
        counts[counts > 32767] = np.nan
        values = (counts - sample.offset[:, None, None]) * sample.scale[:, None, None]
        parts.append(values.reshape(len(values), -1))
    return np.concatenate(parts, axis=1)


def test_day_files_are_indexed_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dates = ("2026-01-01", "2026-01-02")
    samples = [write_day(Path("chips"), date, seed=n)[1] for n, date in enumerate(dates)]
    index = Path("shards/sea/index.json")
    body = pack_chips(recipe_of(*dates), Path("chips"), index)
    assert [row["file"] for row in body["shards"]] == [f"../../chips/sea/{d}.h5" for d in dates]
    assert not list(Path("shards").rglob("*.h5"))
    assert (body["channels"], body["bands"]) == (2, ["31", "6"])
    assert body["class_counts"] == {"none": {"none": 6}}
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps({**body, "kind": "chips", "format_version": FORMAT_VERSION}))
    corpus = Corpus(index)
    assert len(corpus) == 6
    assert corpus.labels.tolist() == [-1] * 6
    np.testing.assert_array_equal(corpus.shards[1].counts(0), samples[1][0].counts)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_statistics_are_those_of_the_pixels_that_have_a_value(tmp_path, missing):
    dates = [f"2026-01-0{n}" for n in (1, 2, 3)]
    samples = []
    for number, date in enumerate(dates):
        count = (2, 16, 37)[number]  # chips are summed in blocks
        samples += write_day(tmp_path, date, count=count, seed=number, missing=missing)[1]
    values = physical(samples)
    body = pack_chips(recipe_of(*dates), tmp_path, tmp_path / "index.json", workers=2)
    mean, std = np.nanmean(values, axis=1), np.nanstd(values, axis=1)
    np.testing.assert_allclose(body["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(body["std"], std, rtol=1e-12)
    np.testing.assert_allclose(body["mean_2sigma"], mean + 2 * std, rtol=1e-12)
    assert body["values"] == np.isfinite(values).sum(axis=1).tolist()
    assert (body["values"] == [values.shape[1]] * 2) is (missing == 0)


def test_chosen_chips_alone_are_summed(tmp_path):
    path, samples = write_day(tmp_path, "2026-01-01", count=50, missing=0.2)
    shard = json.loads(path.with_suffix(".json").read_text())["shard"]
    day = Day(dataset="sea", date="2026-01-01", path=path, count=50, sha256=shard["sha256"])
    for rows in ([0], [49], [3, 4, 17, 31, 32, 48], list(range(16, 32))):
        found = pack_day(day, np.array(rows)).statistics.result()
        values = physical([samples[row] for row in rows])
        np.testing.assert_allclose(found["mean"], np.nanmean(values, axis=1), rtol=1e-12)
        np.testing.assert_allclose(found["std"], np.nanstd(values, axis=1), rtol=1e-12)
        assert found["values"] == np.isfinite(values).sum(axis=1).tolist()


def test_threads_change_no_digit(tmp_path):
    dates = [f"2026-02-{n:02d}" for n in range(1, 13)]
    for number, date in enumerate(dates):
        write_day(tmp_path, date, seed=number, missing=0.1)
    bodies = [
        pack_chips(recipe_of(*dates), tmp_path, tmp_path / "index.json", workers=n)
        for n in (1, 2, 5)
    ]
    assert canonical(bodies[0]) == canonical(bodies[1]) == canonical(bodies[2])


def test_chips_without_any_value_in_a_band_change_nothing(tmp_path):
    counts = np.full((2, 8, 8), 100, np.uint16)
    counts[0] = 65535
    blank = ChipSample(key="blank", counts=counts, scale=np.ones(2), offset=np.zeros(2))
    others = chips("x")
    write_shard(tmp_path, "2026-01-01", [blank, *others], bands=["31", "6"])
    write_shard(tmp_path, "2026-01-02", [blank], bands=["31", "6"])
    recipe = recipe_of("2026-01-01", "2026-01-02")
    body = pack_chips(recipe, tmp_path, tmp_path / "index.json")
    np.testing.assert_allclose(body["mean"][0], physical(others)[0].mean(), rtol=1e-12)
    np.testing.assert_allclose(
        body["std"][1], np.nanstd(physical([blank, *others, blank])[1]), rtol=1e-12
    )
    assert body["values"] == [3 * 64, 5 * 64]
    with pytest.raises(UserError, match="band 31 has no value in any chip"):
        pack_chips(recipe_of("2026-01-02"), tmp_path, tmp_path / "index.json")


def test_the_deviation_survives_a_mean_far_from_zero(tmp_path):
    counts = np.full((1, 8, 8), 30000, np.uint16)
    counts[0, :4] += 1
    samples = [
        ChipSample(key=str(n), counts=counts, scale=np.ones(1), offset=np.full(1, -1e9))
        for n in range(50)
    ]
    write_shard(tmp_path, "2026-01-01", samples, bands=["31"])
    body = pack_chips(recipe_of("2026-01-01"), tmp_path, tmp_path / "index.json")
    np.testing.assert_allclose(body["std"], [0.5], rtol=1e-9)


def test_sums_of_a_whole_granule_do_not_overflow():
    counts = np.full((1, 1, 2030, 1354), 32767, np.uint16)
    counts[0, 0, 0, 0] = 0
    statistics = ChipStatistics(1)
    statistics.add(counts, np.ones((1, 1)), np.zeros((1, 1)))
    pixels = counts.size
    share = 1 / pixels
    found = statistics.result()
    np.testing.assert_allclose(found["mean"], [32767 * (1 - share)], rtol=1e-15)
    np.testing.assert_allclose(found["std"], [32767 * (share * (1 - share)) ** 0.5], rtol=1e-12)


def test_a_day_without_chips_is_left_out(tmp_path):
    write_day(tmp_path, "2026-01-01")
    write_day(tmp_path, "2026-01-02", count=0)
    index = tmp_path / "index.json"
    body = pack_chips(recipe_of("2026-01-01", "2026-01-02"), tmp_path, index)
    assert [row["count"] for row in body["shards"]] == [3]
    with pytest.raises(UserError, match="no chip in 1 day files"):
        pack_chips(recipe_of("2026-01-02"), tmp_path, index)


def test_a_day_file_that_is_not_what_tile_wrote_is_refused(tmp_path):
    path, _ = write_day(tmp_path, "2026-01-01")
    recipe = recipe_of("2026-01-01")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="run tile for this day again"):
        pack_chips(recipe, tmp_path, tmp_path / "index.json")
    path.unlink()
    with pytest.raises(UserError, match=r"2026-01-01\.h5: no such file, but .*\.json describes it"):
        pack_chips(recipe, tmp_path, tmp_path / "index.json")
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match="run tile for this day of sea"):
        pack_chips(recipe, tmp_path, tmp_path / "index.json")


def test_days_of_different_bands_are_refused(tmp_path):
    write_day(tmp_path, "2026-01-01")
    write_day(tmp_path, "2026-01-02", bands=("31", "7"))
    with pytest.raises(UserError, match=r"bands \['31', '7'\] differ"):
        pack_chips(recipe_of("2026-01-01", "2026-01-02"), tmp_path, tmp_path / "index.json")


def test_synthetic_chips_make_no_real_corpus(tmp_path):
    write_day(tmp_path, "2026-01-01")
    with pytest.raises(UserError, match="not marked synthetic"):
        pack_chips(recipe_of("2026-01-01", synthetic=False), tmp_path, tmp_path / "index.json")


@pytest.mark.parametrize(
    "setting", [{"splits": ["train"]}, {"max_side": 64}, {"quality": 90}, {"shard_mb": 9}]
)
def test_settings_for_images_are_refused_for_chips(setting):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["corpora"]["modis"] |= setting
    name = next(iter(setting))
    with pytest.raises(UserError, match=rf"corpora\.modis\.{name}: does not apply to chips"):
        check_config(raw)


def command(recipe, index, *options):
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.pack", "--recipe", canonical(recipe),
         "--index", str(index), *options],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ},
    )  # fmt: skip
    return done.returncode, done.stderr


def test_the_command_line_names_no_day(tmp_path):
    write_day(tmp_path, "2026-01-01")
    index = tmp_path / "shards" / "index.json"
    recipe = recipe_of("2026-01-01")
    assert command(recipe, index, "--chips-root", str(tmp_path))[0] == 0
    found = json.loads(index.read_text())
    assert (found["count"], found["quantity"]) == (3, "radiance")
    assert found["recipe"] == recipe
    code, said = command(recipe, index)
    assert code == 1
    assert "--chips-root is missing, which chips need" in said
