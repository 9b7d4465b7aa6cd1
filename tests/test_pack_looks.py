"""Near duplicates are counted and named, and stay."""

import json

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
