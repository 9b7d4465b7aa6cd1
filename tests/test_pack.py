"""Packing images: shards, statistics, splits, and what is refused."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_sets import RECIPE, item
from image_sets import pack as pack_sets
from pictures import encoded, picture, pixels

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import write_manifest
from workflow_scripts.pack.images import pack_images
from workflow_scripts.shards.corpus import Corpus, content_digest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def dataset(tmp_path):
    """Eight images of different sizes, two classes, two splits; returns its manifest."""
    items = []
    for number in range(8):
        name, split = ("forest", "river")[number % 2], ("train", "test")[number // 6]
        path = tmp_path / "raw" / name / f"{name}{number}.{'jpg' if number < 4 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "JPEG" if number < 4 else "PNG"
        path.write_bytes(encoded(picture(number, size=(20 + number, 30)), kind))
        items.append(item(path, tmp_path / "raw", label=name, split=split))
    write_manifest(tmp_path / "places.jsonl", items)
    return tmp_path / "places.jsonl"


def pack(dataset, folder=None, **changes):
    """Pack the fixture's dataset."""
    return pack_sets([("places", dataset)], folder or dataset.parent / "shards", **changes)


def add(dataset, name, data):
    path = dataset.parent / "raw" / name
    path.write_bytes(data)
    lines = dataset.read_text()
    write_manifest(dataset, [item(path, dataset.parent / "raw", label="river", split="train")])
    dataset.write_text(lines + dataset.read_text())
    return path


def test_every_image_is_there_once_with_class_and_split(dataset):
    body, corpus = pack(dataset)
    assert sorted(corpus.keys) == sorted(
        f"places/{n}/{n}{k}.{'jpg' if k < 4 else 'png'}"
        for k, n in enumerate(["forest", "river"] * 4)
    )
    for number, key in enumerate(corpus.keys):
        source = (dataset.parent / "raw" / key.removeprefix("places/")).read_bytes()
        np.testing.assert_array_equal(pixels(corpus.image(number)), pixels(source))
        assert corpus.classes[corpus.labels[number]] == key.split("/")[1]
    assert body["class_counts"] == {
        "train": {"forest": 3, "river": 3},
        "test": {"forest": 1, "river": 1},
    }


def test_mean_and_deviation_are_those_of_all_pixels(dataset):
    body, corpus = pack(dataset)
    every = np.concatenate([pixels(corpus.image(n)).reshape(-1, 3) for n in range(len(corpus))])
    np.testing.assert_allclose(body["mean"], (every / 255).mean(0), rtol=1e-12)
    np.testing.assert_allclose(body["std"], (every / 255).std(0), rtol=1e-12)


def test_only_the_splits_asked_for_are_packed(dataset):
    body, corpus = pack(dataset, splits=["test"])
    assert len(corpus) == 2
    assert corpus.shards[0].splits.tolist() == [2, 2]  # "test"
    assert list(body["class_counts"]) == ["test"]


def test_shards_are_cut_at_their_size_and_nothing_is_lost(dataset):
    whole, one = pack(dataset)
    limit = max(len(one.image(n)) for n in range(8)) + 10
    body, many = pack(dataset, dataset.parent / "many", shard_bytes=limit)
    assert len(body["shards"]) > 3
    assert [many.image(n) for n in range(8)] == [one.image(n) for n in range(8)]
    for row in body["shards"]:
        assert file_sha256(dataset.parent / "many" / row["file"]) == row["sha256"]
    assert body["mean"] == whole["mean"]


def test_packing_again_gives_the_same_bytes_with_any_number_of_threads(dataset):
    digests = []
    for workers in (1, 5):
        index = dataset.parent / f"{workers}" / "index.json"
        body = pack_images(RECIPE, [("places", dataset)], index, workers=workers)
        digests.append((content_digest(body), body))
    assert digests[0] == digests[1]


def test_a_broken_image_is_set_aside_and_told(dataset):
    add(dataset, "river/broken.jpg", b"not an image")
    body, corpus = pack(dataset, max_set_aside=0.2)
    assert body["set_aside"] == {"not a known image format": 1}
    assert body["set_aside_items"] == [
        {"key": "places/river/broken.jpg", "reason": "not a known image format"}
    ]
    assert len(corpus) == 8


def test_too_many_broken_images_are_refused_with_the_first(dataset):
    add(dataset, "river/broken.jpg", b"not an image")
    with pytest.raises(UserError, match=r"max_set_aside.*\n  places/river/broken.jpg: not a known"):
        pack(dataset, max_set_aside=0.1)


@pytest.mark.parametrize("gone", [False, True])
def test_data_that_changed_since_the_manifest_are_refused(dataset, gone):
    path = dataset.parent / "raw" / "forest" / "forest0.jpg"
    if gone:
        path.unlink()
    else:
        path.write_bytes(encoded(picture(99), "JPEG"))
    with pytest.raises(UserError, match=r"forest0\.jpg .*remove that \(data/manifests/.*\.jsonl\)"):
        pack(dataset)


def test_excluded_keys_are_left_out_and_unknown_ones_refused(dataset):
    _, corpus = pack(dataset, exclude=["places/river/*"])
    assert {key.split("/")[1] for key in corpus.keys} == {"forest"}
    with pytest.raises(UserError, match=r"'places/lake/\*' matches no key"):
        pack(dataset, exclude=["places/lake/*"])


def test_a_split_that_no_image_has_is_refused(dataset):
    with pytest.raises(UserError, match="no item of the splits"):
        pack(dataset, splits=["val"])


def test_datasets_are_joined_with_one_list_of_classes(dataset):
    other = dataset.with_name("lakes.jsonl")
    path = dataset.parent / "lakes" / "lake.png"
    path.parent.mkdir()
    path.write_bytes(encoded(picture(50), "PNG"))
    write_manifest(other, [item(path, dataset.parent / "lakes", label="a-lake")])
    index = dataset.parent / "both" / "index.json"
    recipe = {**RECIPE, "datasets": ["places", "lakes"]}
    body = pack_images(recipe, [("places", dataset), ("lakes", other)], index, workers=0)
    assert body["classes"] == ["a-lake", "forest", "river"]
    assert body["class_counts"]["none"] == {"a-lake": 1}


def run_pack(folder, *arguments, **changes):
    recipe = json.dumps({**RECIPE, **changes})
    command = [sys.executable, "-m", "workflow_scripts.pack", "--recipe", recipe, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_program_writes_an_index_and_removes_shards_of_earlier_packings(dataset):
    folder = dataset.parent
    arguments = ("--index", "out/index.json", "--manifests", "places.jsonl")
    assert run_pack(folder, *arguments, shard_bytes=1).returncode == 0
    assert len(list((folder / "out").glob("shard-*.h5"))) == 8
    (folder / "out" / ".shard-00009.h5.tmp").write_bytes(b"left by a killed process")
    done = run_pack(folder, *arguments)
    assert done.returncode == 0, done.stderr
    first = (folder / "out" / "index.json").read_bytes()
    shards = {path.name for path in (folder / "out").iterdir() if "shard" in path.name}
    assert shards == {"shard-00000.h5"}
    assert run_pack(folder, *arguments).returncode == 0
    assert (folder / "out" / "index.json").read_bytes() == first
    index = json.loads(first)
    assert (index["count"], index["channels"], index["corpus"]) == (8, 3, "places")
    assert index["content"] == content_digest(index)
    checksum = hashlib.sha256(dataset.read_bytes()).hexdigest()
    assert index["digests"]["inputs"] == {"manifest:places": checksum}
    assert len(Corpus(folder / "out" / "index.json")) == 8


def test_manifests_of_other_datasets_are_refused(dataset):
    arguments = ("--index", "out/index.json", "--manifests", "places.jsonl")
    done = run_pack(dataset.parent, *arguments, datasets=["lakes"])
    assert done.returncode == 1
    assert "each of the recipe's datasets: lakes" in done.stderr
    assert "Traceback" not in done.stderr
