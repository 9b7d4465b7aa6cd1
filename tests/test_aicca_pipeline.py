"""From sample granules and label files to a probe's result, through the stages' command lines."""

import copy
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.conftest import ROOT
from tests.test_config import DEFAULT
from workflow_scripts import recipes
from workflow_scripts.config_check import check_config
from workflow_scripts.digests import canonical
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.reader import Shard

DATES = ["2026-01-01", "2026-01-02", "2026-01-03"]


def tiny_config(labels):
    """The default, with a few small days, a tiny Swin and one seed."""
    raw = copy.deepcopy(DEFAULT)
    tile = {"size": 32, "stride": 32, "min_valid": 0.5, "night": "keep_missing"}
    raw["datasets"]["sample-modis"] |= {
        "dates": DATES, "granules": 2, "lines": 200, "pixels": 200, "tile": tile,
    }  # fmt: skip
    raw["datasets"]["aicca"]["path"] = str(labels)
    raw["runs"]["modis-simmim"] |= {
        "epochs": 1,
        "scaling": "mean_2sigma",
        "mask": {"patch": 8},
        "encoder": {"family": "swinv2", "image_size": 32, "patch": 4, "width": 8, "depths": [1, 1],
                    "heads": [2, 2], "window": 4},
    }  # fmt: skip
    raw["benchmarks"]["aicca"] |= {"seeds": [0], "strengths": [0.1]}
    return check_config(raw)


def run(folder, stage, recipe, *options):
    done = subprocess.run(
        [sys.executable, "-m", f"workflow_scripts.{stage}", "--recipe", canonical(recipe),
         *map(str, options)],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def labels_of(chips):
    """A row a chip: class by its mean radiance at 11 µm, somewhere within three kilometres."""
    rng = np.random.default_rng(0)
    rows = []
    for date in DATES:
        shard = Shard(chips / f"{date}.h5")
        columns = shard.fields("time", "latitude", "longitude", "platform")
        for number in range(len(shard)):
            rows.append({name: columns[name][number] for name in columns})
            rows[-1]["chip"] = shard.keys[number]  # a column more than is asked for
            rows[-1]["warmth"] = np.nanmean(shard.physical(number)[-1])
    table = pd.DataFrame(rows)
    table["Label"] = pd.qcut(table.pop("warmth"), 4, labels=[3, 8, 20, 41]).astype(int)
    table["lat"] = table.pop("latitude") + rng.uniform(-0.02, 0.02, len(table))
    table["lon"] = table.pop("longitude")
    table["Timestamp"] = pd.to_datetime(table.pop("time"), unit="s")
    return table


def write_labels(folder, table):
    """A day in CSV, one in parquet, one in netCDF, each with another spelling of time."""
    folder.mkdir()
    first, second, third = (table[table.Timestamp.dt.date.astype(str) == date] for date in DATES)
    first.assign(Timestamp=first.Timestamp.dt.strftime("%Y%j.%H%M")).to_csv(folder / "a.csv")
    second.to_parquet(folder / "b.parquet")
    numbers = third.Timestamp.dt.strftime("%Y%m%d%H%M").astype(np.int64)
    columns = third.assign(Timestamp=numbers)
    for name in ("platform", "chip"):
        columns[name] = columns[name].astype(str).to_numpy().astype("S")
    xr.Dataset({name: ("row", columns[name].to_numpy()) for name in columns}).to_netcdf(
        folder / "c.nc", engine="h5netcdf"
    )


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    """A folder with the chips of three days, and the configuration."""
    folder = tmp_path_factory.mktemp("aicca")
    config = tiny_config("labels")
    for date in DATES:
        manifest = f"data/manifests/sample-modis/{date}.jsonl"
        run(folder, "fetch", recipes.fetch(config, "sample-modis", date), "--manifest", manifest,
            "--raw", f"data/raw/{date}")  # fmt: skip
        run(folder, "tile", recipes.tile(config, "sample-modis", date), "--manifest", manifest,
            "--chips", f"data/chips/sample-modis/{date}.h5")  # fmt: skip
    return folder, config


def test_labels_and_chips_become_a_probe(tiled):
    folder, config = tiled
    table = labels_of(folder / "data" / "chips" / "sample-modis")
    write_labels(folder / "labels", table)
    run(folder, "fetch", recipes.fetch(config, "aicca"), "--manifest", "data/aicca.jsonl")
    index = {name: f"data/shards/{name}/index.json" for name in ("modis", "bench-aicca")}
    chips = ("--chips-root", "data/chips")
    run(folder, "pack", recipes.pack(config, "modis"), "--index", index["modis"], *chips)
    run(folder, "pack", recipes.pack(config, "bench-aicca"), "--index", index["bench-aicca"],
        *chips, "--manifests", "data/aicca.jsonl")  # fmt: skip
    recipe, where = recipes.pretrain(config, "modis-simmim"), "results/runs/modis-simmim"
    options = ("--index", index["modis"], "--run", where, "--segment", f"{where}/segments/1.json")
    run(folder, "pretrain", recipe, *options)
    run(folder, "export", recipe, *options)
    names, store = ("modis-simmim", "aicca"), ("--store", "store", "--index", index["bench-aicca"])
    run(folder, "features", recipes.features(config, *names), "--model", where, *store,
        "--output", "features.json")  # fmt: skip
    run(folder, "probe", recipes.probe(config, *names), "--features", "features.json", *store,
        "--corpora", index["modis"], "--output", "probe.json")  # fmt: skip

    packed = json.loads((folder / index["bench-aicca"]).read_text())
    matching = packed["matching"]
    assert matching["rows_matched"] == matching["rows"] == matching["chips"] == len(table) > 100
    assert packed["split_days"] == {"train": 2, "test": 1}
    assert packed["synthetic"] is True
    assert not list((folder / index["bench-aicca"]).parent.glob("shard-*.h5"))
    result = json.loads((folder / "probe.json").read_text())
    assert result["classes"] == ["03", "08", "20", "41"]
    test = Corpus(folder / index["bench-aicca"], "test")
    (split,) = result["splits"]
    assert split["n_train"] + split["n_test"] == len(table)
    assert split["overlap"] == {"train": split["n_train"], "test": len(test)}
    assert split["n_test"] == len(test)
    assert set(result["protocols"]) == {"linear", "knn"}
    assert len({key.split(".")[1] for key in test.keys}) == 1  # the granules of one day
    assert result["digests"]["inputs"]["benchmark"] == packed["content"]
    card = json.loads((folder / where / "model.json").read_text())
    trained = json.loads((folder / index["modis"]).read_text())
    assert card["normalisation"]["std"] == trained["mean_2sigma"]
    label_of = dict(zip(table.chip, table.Label, strict=True))
    everything = Corpus(folder / index["bench-aicca"])
    found = [int(everything.classes[label]) for label in everything.labels]
    assert found == [label_of[key] for key in everything.keys]
