"""Near duplicates are counted and named, and stay."""

import json
import tracemalloc

import numpy as np
from image_sets import pack, write_dataset
from pictures import encoded, picture
from PIL import Image

from workflow_scripts.pack.looks import Looks, look_of


def test_a_look_is_the_difference_hash_bit_by_bit():
    image = picture(3)
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX)).astype(int)
    bits = "".join("1" if grey[y, x] < grey[y, x + 1] else "0" for y in range(8) for x in range(8))
    assert look_of(image) == int(bits, 2)
    assert look_of(Image.new("RGB", (40, 30), "green")) == 0


def test_the_same_picture_in_another_file_is_a_near_duplicate_and_a_copy_is_not(tmp_path):
    one, other = picture(1, (64, 64)), picture(2, (64, 64))
    files = {
        "a/1.png": (encoded(one, "PNG"), "train", "a"),
        "a/2.jpg": (encoded(one, "JPEG", quality=97, subsampling=0), "test", "a"),
        "a/3.png": (encoded(other, "PNG"), "train", "a"),
        "b/3.png": (encoded(other, "PNG"), "train", "b"),
    }
    body, corpus = pack([write_dataset(tmp_path, "places", files)], tmp_path)
    assert look_of(one) != look_of(other)
    found = body["near_duplicates"]
    assert (found["samples"], found["across_splits"]) == (2, 2)
    assert [sorted(group) for group in found["groups"]] == [["places/a/1.png", "places/a/2.jpg"]]
    assert len(corpus) == 4


def test_many_shards_are_counted_together_and_few_groups_named(tmp_path):
    looks, rng = Looks(), np.random.default_rng(0)
    values = rng.integers(0, 2**64, 1000, np.uint64).tolist()
    rows = [(look, 0, f"first/{n}") for n, look in enumerate(values)]
    again = [(look, n % 2, f"second/{n}") for n, look in enumerate(values[:300])]
    sidecars = []
    for number, part in enumerate((rows, again)):
        looks.add(part)
        sidecars.append(tmp_path / f"{number}.json")
        sidecars[-1].write_text(json.dumps({"looks": part}))
    found = looks.result(sidecars)
    assert found["samples"] == 600
    assert found["across_splits"] == 300
    assert len(found["groups"]) == 20
    for first, second in found["groups"]:
        assert first.split("/")[1] == second.split("/")[1]


def test_tiles_of_one_file_are_no_near_duplicates_of_each_other(tmp_path):
    tile = np.asarray(picture(1, (64, 64)))
    grid = Image.fromarray(np.tile(tile, (2, 2, 1)))
    alone = {"a/grid.png": (encoded(grid, "PNG"), "train", "a")}
    tiling = {"max_side": 64, "large": "tile"}
    body, corpus = pack([write_dataset(tmp_path, "places", alone)], tmp_path, **tiling)
    assert len(corpus) == 4
    assert body["near_duplicates"] == {"samples": 0, "across_splits": 0, "groups": []}
    jpeg = encoded(Image.fromarray(tile), "JPEG", quality=97, subsampling=0)
    files = alone | {"a/one.jpg": (jpeg, "test", "a")}
    body, _ = pack([write_dataset(tmp_path, "places", files)], tmp_path, **tiling)
    found = body["near_duplicates"]
    assert (found["samples"], found["across_splits"]) == (2, 2)
    (group,) = found["groups"]
    assert sorted(group) == ["places/a/grid.png@0,0", "places/a/one.jpg"]


def test_flat_images_are_no_near_duplicates(tmp_path):
    colours = ("black", "white", "green")
    files = {
        f"a/{name}.png": (encoded(Image.new("RGB", (20, 20), name), "PNG"), "train", "a")
        for name in colours
    }
    body, corpus = pack([write_dataset(tmp_path, "places", files)], tmp_path)
    assert len(corpus) == 3
    assert body["near_duplicates"] == {"samples": 0, "across_splits": 0, "groups": []}


def test_counts_are_those_of_a_dictionary_whatever_the_looks(tmp_path):
    rng = np.random.default_rng(1)
    values = rng.integers(1, 2**64, 60, np.uint64)[rng.integers(0, 60, 100)]
    splits = rng.integers(-1, 3, 100)
    rows = [
        (int(look), int(s), f"{n}") for n, (look, s) in enumerate(zip(values, splits, strict=True))
    ]
    by_look = {}
    for look, split, key in rows:
        by_look.setdefault(look, []).append((split, key))
    several = {look: found for look, found in by_look.items() if len(found) > 1}
    looks = Looks()
    looks.add(rows[:30])
    looks.add([])
    looks.add(rows[30:])
    sidecar = tmp_path / "0.json"
    sidecar.write_text(json.dumps({"looks": rows}))
    assert looks.result([sidecar]) == {
        "samples": sum(map(len, several.values())),
        "across_splits": sum(len(f) for f in several.values() if len({s for s, _ in f}) > 1),
        "groups": [[key for _, key in several[look]][:5] for look in sorted(several)[:20]],
    }


def test_counting_takes_little_memory_beside_the_looks():
    looks, count = Looks(), 400_000
    for part in np.split(np.random.default_rng(0).integers(1, 2**64, count, np.uint64), 40):
        looks.add((look, 0, "") for look in part.tolist())
    tracemalloc.start()
    found = looks.result([])
    extra = tracemalloc.get_traced_memory()[1] / count
    tracemalloc.stop()
    assert found["samples"] == 0
    assert extra < 6  # bytes each
