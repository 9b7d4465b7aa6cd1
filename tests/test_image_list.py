"""Datasets of a table of images and labels: what is listed, packed and split; what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from image_sets import pack
from pictures import encoded, picture

from tests.test_config import changed
from workflow_scripts import fetch_recipe, recipes
from workflow_scripts.config_check import check_config
from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.datasets import fetch_image_list
from workflow_scripts.fetch.inventory import summary
from workflow_scripts.fetch.manifest import Item, read_manifest, write_manifest
from workflow_scripts.split.table import read_splits

ROOT = Path(__file__).resolve().parent.parent
SEVERAL = """labels,path,season
road;tree,a/1.jpg,summer
 tree ; water,b/2.jpg,winter
,a/3.jpg,spring
tree;tree,missing.jpg,spring
"""


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "tiles"
    for number, key in enumerate(["a/1.jpg", "b/2.jpg", "a/3.jpg", "a/unlisted.jpg"]):
        (place / key).parent.mkdir(parents=True, exist_ok=True)
        (place / key).write_bytes(encoded(picture(number), "JPEG"))
    return place


def recipe(folder, text, **changes):
    table = folder.parent / "list.csv"
    table.write_text(text, encoding="utf-8")
    return {
        "dataset": "tiles", "kind": "image-list", "path": str(folder), "list": str(table),
        "obtain": "Ask the library.", **changes,
    }  # fmt: skip


def run_stage(stage, arguments, cwd):
    command = [sys.executable, "-m", f"workflow_scripts.{stage}", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_each_listed_image_has_the_label_and_split_of_its_row(folder):
    text = "path,label,split\nb/2.jpg,wet land,test\n./a//1.jpg, dry ,train\na/3.jpg,,\n"
    items, set_aside = fetch_image_list(recipe(folder, text))
    assert set_aside == []
    assert [(one.key, one.label, one.split, one.labels) for one in items] == [
        ("b/2.jpg", "wet land", "test", None),
        ("a/1.jpg", "dry", "train", None),
        ("a/3.jpg", None, None, None),
    ]
    assert items[0].sha256 == file_sha256(folder / "b/2.jpg")


def test_several_labels_are_sorted_and_each_counted_once_an_image(folder):
    items, set_aside = fetch_image_list(recipe(folder, SEVERAL))
    assert [(one.key, one.label, one.labels) for one in items] == [
        ("a/1.jpg", None, ("road", "tree")),
        ("b/2.jpg", None, ("tree", "water")),
        ("a/3.jpg", None, ()),
    ]
    assert set_aside == [
        {"key": "missing.jpg", "reason": "cannot be read (No such file or directory)"}
    ]
    body = summary(items, set_aside, dataset="tiles", synthetic=False, source="")
    assert body["classes"] == ["road", "tree", "water"]
    assert body["class_counts"] == {"none": {"none": 1, "road": 1, "tree": 2, "water": 1}}
    assert body["items"] == 3


def test_the_manifest_keeps_several_labels_and_others_have_no_such_key(folder, tmp_path):
    items, _ = fetch_image_list(recipe(folder, SEVERAL))
    write_manifest(tmp_path / "tiles.jsonl", items)
    assert list(read_manifest(tmp_path / "tiles.jsonl")) == sorted(items, key=lambda one: one.key)
    single = Item(key="1", path="1", sha256="0" * 64, bytes=1, label="a")
    write_manifest(tmp_path / "one.jsonl", [single])
    assert json.loads((tmp_path / "one.jsonl").read_text()).keys() == {
        "key", "path", "sha256", "bytes", "label", "split",
    }  # fmt: skip


def test_fetched_packed_and_split_several_labels_come_out_as_they_went_in(
    folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    # Every label has an image for training.
    listed = SEVERAL.replace("road;tree,", "road;tree;water,")
    told = json.dumps(recipe(folder, listed, listing_digest=None))
    manifest = tmp_path / "tiles.jsonl"
    for _ in range(2):
        run_stage("fetch", ["--recipe", told, "--manifest", manifest], tmp_path)
    assert "listing_digest" not in json.loads((tmp_path / "tiles.json").read_text())["recipe"]
    body, corpus = pack([("tiles", manifest)], tmp_path / "packed")
    assert body["classes"] == []
    assert set(corpus.labels) == {-1}
    assert sorted(corpus.keys) == ["tiles/a/1.jpg", "tiles/a/3.jpg", "tiles/b/2.jpg"]
    split = {"by": "lists", "files": [str(tmp_path / "s.csv")]}
    (tmp_path / "s.csv").write_text("key,split\na/1.jpg,train\nb/2.jpg,test\na/3.jpg,train\n")
    told = json.dumps({"benchmark": "tiles", "dataset": "tiles", "split": split})
    run_stage(
        "split", ["--recipe", told, "--manifest", manifest, "--output", "splits.csv"], tmp_path
    )
    table = read_splits(tmp_path / "splits.csv")
    assert table.classes == ["road", "tree", "water"]
    assert table.keys == ["a/1.jpg", "a/3.jpg", "b/2.jpg"]
    assert table.label_matrix().astype(int).tolist() == [[1, 1, 1], [0, 0, 0], [0, 1, 1]]
    assert table.side("s").tolist() == [0, -1, 2]  # the one without a label is on no side


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,label\n", r"line 1 is 'image,label'; expected a header with the columns path and"),
        ("path,labl\n", "expected a header"),
        ("path,label,labels\n", "expected a header"),
        ("path,path,label\n", "expected a header"),
        ("", "expected a header"),
        ("path,label\na/1.jpg,x\na/1.jpg,y\n", r"line 3: 'a/1.jpg' stands in an earlier line"),
        ("path,label\na/1.jpg,x\na/./1.jpg,y\n", r"line 3: 'a/1.jpg' stands in an earlier line"),
        ("path,label\n\n../tiles/a/1.jpg,x\n", r"line 3: path is '../tiles/a/1.jpg'; expected one"),
        ("path,label\n/etc/passwd,x\n", r"line 2: path is '/etc/passwd'"),
        ("path,label\n,x\n", r"line 2: path is ''"),
        ("path,label\na/1.jpg!stored:0:4,x\n", "reads as the address of a member"),
        ("path,label\na/1.jpg\n", r"line 2 has 1 cells, the header 2"),
        ("path,label,split\na/1.jpg,x,training\n", r"line 2: split is 'training'; expected train"),
        ('path,label\n"a/1.jpg,x\n', "is not CSV"),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_its_line(folder, text, words):
    with pytest.raises(UserError, match=words):
        fetch_image_list(recipe(folder, text))


def test_missing_data_tells_where_to_get_and_put_it_and_which_key(folder, tmp_path):
    told = recipe(folder, SEVERAL)
    with pytest.raises(UserError, match=r"Ask the library(.|\n)*datasets.tiles.list"):
        fetch_image_list({**told, "list": str(tmp_path / "none.csv")})
    with pytest.raises(UserError, match=r"does not exist(.|\n)*datasets.tiles.path"):
        fetch_image_list({**told, "path": str(tmp_path / "none")})


def test_an_edited_table_or_another_image_makes_the_manifest_stale(folder):
    told = recipe(folder, SEVERAL)
    keys = ("kind", "path", "list")
    config = check_config(changed("datasets.tiles", {key: told[key] for key in keys}))

    def seen():
        fetch_recipe._listing.cache_clear()
        return recipes.fetch(config, "tiles")

    first = seen()
    assert seen() == first
    Path(told["list"]).write_text(SEVERAL.replace("road", "path"))
    second = seen()
    assert second != first
    (folder / "b" / "2.jpg").write_bytes(b"another")
    assert seen() != second
    Path(told["list"]).unlink()  # planned before it is there
    assert seen()["listing_digest"] is None
