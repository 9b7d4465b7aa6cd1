"""Images that judge stay out of corpora: of all splits, by content, whoever holds a copy."""

import json
import os
import random
import subprocess
import sys

import pytest
from image_sets import RECIPE, judge, pack, photos, write_dataset
from test_pack_choose import chosen

from tests.conftest import ROOT
from workflow_scripts.fetch.manifest import Item, read_manifest, write_manifest
from workflow_scripts.split.table import judged_items, write_table

SIDES = ("train", "val", "test", "")


def table(path, items, columns):
    keys, contents = [one.key for one in items], [one.sha256 for one in items]
    write_table(path, keys, contents, ["river"] * len(keys), columns)
    return path


@pytest.mark.parametrize("case", range(15))
def test_nothing_that_judges_in_any_split_is_packed_whoever_holds_a_copy(tmp_path, case):
    draw = random.Random(case)
    contents = [f"{n:02x}" * 32 for n in range(30)]
    manifests, items = [], {}
    for name in ("places", "web", "tiles"):
        items[name] = [
            Item(key=f"{n:02d}", path="-", sha256=draw.choice(contents), bytes=1,
                 split=draw.choice(["train", "test", None]))
            for n in range(25)
        ]  # fmt: skip
        write_manifest(tmp_path / f"{name}.jsonl", items[name])
        manifests.append((name, tmp_path / f"{name}.jsonl"))
    judged, tests = {}, {}
    for benchmark, dataset in (("places-5", "places"), ("places-8", "places"), ("tiles", "tiles")):
        columns = {
            f"seed-{seed}": [draw.choice(SIDES) for _ in items[dataset]] for seed in range(2)
        }
        judged[benchmark] = table(tmp_path / f"{benchmark}.csv", items[dataset], columns)
        for one, *sides in zip(items[dataset], *columns.values(), strict=True):
            if "test" in sides:
                tests.setdefault(f"{dataset}/{one.key}", one.sha256)
    benchmarks = {"places-5": "places", "places-8": "places", "tiles": "tiles"}
    sha_of = {f"{name}/{one.key}": one.sha256 for name, found in items.items() for one in found}
    told = {"handling": "exclude", "benchmarks": benchmarks}
    changes = {"judged": judged, "across_splits": "keep", "benchmark_test": told}
    keys, tally = chosen(manifests, tmp_path / "s", **changes)
    assert set(keys) == {key for key, sha in sha_of.items() if sha not in set(tests.values())}
    assert tally.left_out == {"test image of a benchmark": len(sha_of) - len(keys)}
    by_dataset = {name: sum(key.startswith(name) for key in tests) for name in ("places", "tiles")}
    assert {name: count for name, count in tally.test_images.items() if count} == by_dataset
    changes["benchmark_test"] = {**told, "handling": "keep"}
    kept, tally = chosen(manifests, tmp_path / "t", **changes)
    assert set(kept) == set(sha_of)
    assert not tally.left_out
    assert {name: count for name, count in tally.test_images.items() if count} == by_dataset


def test_a_training_image_of_the_dataset_that_a_split_judges_by_is_left_out(tmp_path):
    manifests = [write_dataset(tmp_path, "places", photos(range(4), "train"))]
    items = list(read_manifest(manifests[0][1]))
    columns = {"seed-0": ["train", "test", "train", "train"],
               "seed-1": ["test", "train", "train", "train"]}  # fmt: skip
    judged = {"half": table(tmp_path / "half.csv", items, columns)}
    assert [key for key, _ in judged_items(judged["half"])] == ["river/000.jpg", "river/001.jpg"]
    told = {"handling": "exclude", "benchmarks": {"half": "places"}}
    body, corpus = pack(
        manifests, tmp_path / "out", judged=judged, splits=["train"], benchmark_test=told
    )
    assert sorted(corpus.keys) == ["places/river/002.jpg", "places/river/003.jpg"]
    assert body["benchmark_test"] == {"handling": "exclude", "images": {"places": 2}}


def test_a_benchmark_s_own_corpus_holds_copies_of_all_splits(tmp_path):
    (data, _, _), *_ = photos([0]).values()
    files = {"a.jpg": (data, "train", "river"), "b.jpg": (data, "test", "river")}
    manifests = [write_dataset(tmp_path, "places", files)]
    _, corpus = pack(manifests, tmp_path / "out", across_splits="keep")
    assert sorted(corpus.keys) == ["places/a.jpg", "places/b.jpg"]
    _, corpus = pack(manifests, tmp_path / "other")
    assert corpus.keys == ["places/b.jpg"]


def test_the_program_takes_a_table_of_each_benchmark_and_stamps_it(tmp_path):
    name, manifest = write_dataset(tmp_path, "places", photos(range(3), "train"))
    judge(manifest, tmp_path / "half.csv")
    told = {"handling": "exclude", "benchmarks": {"half": "places"}}
    recipe = {**RECIPE, "datasets": [name], "benchmark_test": told}

    def run(*options):
        command = [sys.executable, "-m", "workflow_scripts.pack", "--recipe", json.dumps(recipe)]
        command += ["--index", "out/index.json", "--manifests", str(manifest), "--workers", "1"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    refused = run()
    assert refused.returncode == 1
    assert "--judged is not given, expected one <benchmark>.csv for each" in refused.stderr
    assert run("--judged", str(tmp_path / "other.csv")).returncode == 1
    done = run("--judged", "half.csv")
    assert done.returncode == 0, done.stderr
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["digests"]["inputs"].keys() == {"manifest:places", "split:half"}
