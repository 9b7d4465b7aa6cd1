"""Splits of benchmarks: drawn, the dataset's own, from lists; copies, digests, what is refused."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts.digests import digest
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item, write_manifest
from workflow_scripts.split.__main__ import check_sides
from workflow_scripts.split.items import read_items
from workflow_scripts.split.lists import list_files
from workflow_scripts.split.make import make_splits
from workflow_scripts.split.table import judged_items, read_splits

ROOT = Path(__file__).resolve().parent.parent
SIDES = ("train", "val", "test")


def content(name):
    return hashlib.sha256(str(name).encode()).hexdigest()


def item(key, *, copy_of=None, split=None, **labels):
    labels = labels or {"label": key.partition("/")[0]}
    sha256 = content(copy_of or key)
    return Item(key=key, path=key, sha256=sha256, bytes=1, split=split, **labels)


def images(classes=3, each=10, **keys):
    return [item(f"c{c}/c{c}_{n:02d}.jpg", **keys) for c in range(classes) for n in range(each)]


def make(tmp_path, items, split):
    write_manifest(tmp_path / "places.jsonl", items)
    recipe = {"benchmark": "places", "dataset": "places", "split": split}
    found = read_items(tmp_path / "places.jsonl")
    made = make_splits(found, recipe)
    return {one.name: dict(zip(found.keys, one.sides, strict=True)) for one in made}, made


def drawn(**changes):
    return {"by": "fraction", "train": 0.5, "val": 0.0, "test": 0.5, "seeds": [0]} | changes


def run_split(tmp_path, items, split):
    write_manifest(tmp_path / "places.jsonl", items)
    recipe = json.dumps({"benchmark": "mine", "dataset": "places", "split": split})
    command = [sys.executable, "-m", "workflow_scripts.split", "--recipe", recipe]
    command += ["--manifest", "places.jsonl", "--output", "splits/mine.csv"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)


# --- by fraction ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(30))
def test_whatever_the_shares_copies_stay_together_and_classes_get_the_nearest_counts(
    tmp_path, case
):
    draw = random.Random(case)
    originals = images(classes=draw.randint(1, 4), each=draw.randint(2, 25))
    copies = [
        item(f"{draw.choice(originals).label}/copy_{n}.jpg", copy_of=draw.choice(originals).key)
        for n in range(draw.randint(0, 20))
    ]
    train, val = draw.uniform(0.1, 0.6), draw.choice([0.0, draw.uniform(0, 0.3)])
    split = drawn(train=train, val=val, test=draw.choice([None, 1 - train - val]), seeds=[case, 99])
    items = originals + copies
    sides, made = make(tmp_path, items, split)
    for found in sides.values():
        assert set(found.values()) <= {*SIDES, ""}
        by_content = {}
        for one in items:
            by_content.setdefault(one.sha256, set()).add(found[one.key])
        assert all(len(together) == 1 for together in by_content.values())
        # A content of several files is not cut, so that counts are the nearest without copies.
        for name in {one.label for one in items} if not copies else ():
            mine = [one for one in items if one.label == name]
            counts = Counter(found[one.key] for one in mine)
            assert abs(counts["train"] - len(mine) * train) <= 0.5 + 1e-6
            assert abs(counts["train"] + counts["val"] - len(mine) * (train + val)) <= 0.5 + 1e-6
            assert sum(counts[side] for side in SIDES) == len(mine)
    assert [one.how["seed"] for one in made] == [case, 99]


def test_each_seed_is_a_split_of_its_own_and_the_order_of_the_manifest_is_kept(tmp_path):
    sides, made = make(tmp_path, images(), drawn(seeds=[0, 1, 7]))
    assert list(sides) == ["seed-0", "seed-1", "seed-7"]
    assert sides["seed-0"] != sides["seed-1"] != sides["seed-7"]
    assert list(sides["seed-0"]) == sorted(sides["seed-0"])
    for one in made:
        assert Counter(one.sides) == {"train": 15, "test": 15}


def test_without_strata_only_the_whole_has_the_share(tmp_path):
    found = []
    for seed in range(8):
        sides, _ = make(tmp_path, images(), drawn(stratified=False, seeds=[seed]))
        (one,) = sides.values()
        assert Counter(one.values()) == {"train": 15, "test": 15}
        found.append(Counter(key[:2] for key, side in one.items() if side == "train"))
    assert any(set(counts.values()) != {5} for counts in found)
    strata, _ = make(tmp_path, images(), drawn(seeds=[3]))
    assert Counter(k[:2] for k, side in strata["seed-3"].items() if side == "train") == {
        "c0": 5, "c1": 5, "c2": 5,
    }  # fmt: skip


def test_images_without_a_class_stand_on_no_side_and_are_counted(tmp_path):
    sides, (made,) = make(tmp_path, [*images(), item("top.jpg", label=None)], drawn())
    assert sides["seed-0"]["top.jpg"] == ""
    assert made.left_out == {"no class": 1}


def test_images_with_several_labels_are_not_stratified_and_that_is_said(tmp_path):
    several = [item(f"{n}.jpg", labels=("a", "b")[: 1 + n % 2]) for n in range(20)]
    with pytest.raises(UserError, match=r"several labels each.*stratified: false"):
        make(tmp_path, several, drawn())
    sides, _ = make(tmp_path, several, drawn(stratified=False))
    assert Counter(sides["seed-0"].values()) == {"train": 10, "test": 10}


def test_impossible_shares_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"sum to 1\.1"):
        make(tmp_path, images(), drawn(train=0.6))


# --- the dataset's own ---------------------------------------------------------------------------


def test_the_dataset_s_own_split_is_taken(tmp_path):
    items = [*images(1, 3, split="train"), item("c9/a.jpg", split="test"), item("c9/b.jpg")]
    sides, (made,) = make(tmp_path, items, {"by": "dataset"})
    assert list(sides["dataset"].values()) == ["train"] * 3 + ["test", ""]
    assert made.how == {"by": "dataset", "identical": "leave_out"}


def test_a_dataset_without_a_split_of_its_own_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"places has no split of its own.*benchmarks.places.split"):
        make(tmp_path, images(), {"by": "dataset"})


CROSSING = [
    item("a/1.jpg", split="train"),
    item("a/2.jpg", copy_of="a/1.jpg", split="test"),
    item("a/3.jpg", copy_of="a/1.jpg", split="train"),
    item("b/4.jpg", split="train"),
    item("b/5.jpg", copy_of="b/4.jpg", split="val"),
    item("b/6.jpg", copy_of="b/4.jpg"),
    item("b/7.jpg", split="train"),
]


@pytest.mark.parametrize(
    ("identical", "expected", "left_out"),
    [
        ("leave_out", ["", "test", "", "", "val", "", "train"],
         {"copy on a less protected side": 3}),
        ("test", ["test", "test", "test", "val", "val", "", "train"], {}),
    ],
)  # fmt: skip
def test_identical_images_on_two_sides_keep_the_most_protected(
    tmp_path, identical, expected, left_out
):
    sides, (made,) = make(tmp_path, CROSSING, {"by": "dataset", "identical": identical})
    assert list(sides["dataset"].values()) == expected
    assert made.left_out == left_out
    assert made.how.get("moved") == (3 if identical == "test" else None)


def test_identical_images_on_two_sides_are_named_where_they_are_refused(tmp_path):
    split = {"by": "dataset", "identical": "refuse"}
    with pytest.raises(UserError, match=r"a/1.jpg \(train\), a/2.jpg \(test\), a/3.jpg \(train\)"):
        make(tmp_path, CROSSING, split)
    with pytest.raises(UserError, match="identical is 'maybe'"):
        make(tmp_path, CROSSING, {"by": "dataset", "identical": "maybe"})


@pytest.mark.parametrize("case", range(20))
def test_no_content_is_on_two_sides_of_any_list(tmp_path, case):
    draw = random.Random(case)
    items = images(2, 8)
    items += [item(f"c0/x{n}.jpg", copy_of=draw.choice(items).key) for n in range(10)]
    rows = [f"{one.key},{draw.choice([*SIDES, ''])}" for one in items]
    (tmp_path / "list.csv").write_text("\n".join(["key,split", *rows]))
    split = {"by": "lists", "files": [str(tmp_path / "list.csv")], "identical": "leave_out"}
    before = dict(row.split(",") for row in rows)
    sides, _ = make(tmp_path, items, split)
    split["identical"] = "test"
    moved, _ = make(tmp_path, items, split)
    for one in items:
        group = [other.key for other in items if other.sha256 == one.sha256]
        told = {before[key] for key in group} - {""}
        best = next((side for side in reversed(SIDES) if side in told), "")
        assert sides["list"][one.key] == (best if before[one.key] == best else "")
        assert moved["list"][one.key] == (best if before[one.key] else "")


# --- lists ---------------------------------------------------------------------------------------


def lists(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / name.replace("_dot_", ".")).write_text(text)
    return {"by": "lists", "files": [str(tmp_path / n.replace("_dot_", ".")) for n in files]}


def test_a_csv_of_keys_and_sides_is_a_split_named_by_its_file(tmp_path):
    text = "split,note,key\ntrain,x,c0/c0_00.jpg\n,y,c0/c0_03.jpg\n\ntest,,c1/c1_01.jpg\n"
    sides, (made,) = make(tmp_path, images(), lists(tmp_path, few_dot_csv=text))
    on = {key: side for key, side in sides["few"].items() if side}
    assert on == {"c0/c0_00.jpg": "train", "c1/c1_01.jpg": "test"}
    assert made.how["file"] == str(tmp_path / "few.csv")


def test_plain_lists_name_files_whatever_their_suffix_as_torchgeo_s_of_uc_merced(tmp_path):
    (tmp_path / "uc_merced-train.txt").write_text("c0_00.tif\nc1_04.tif\n")
    (tmp_path / "uc_merced-val.txt").write_text("c0/c0_05.jpg\n\n")
    (tmp_path / "uc_merced-test.txt").write_text("c0_01.jpg\r\nc2/c2_04.tif")
    paths = {side: str(tmp_path / f"uc_merced-{side}.txt") for side in SIDES}
    split = {"by": "lists", "files": [paths]}
    sides, (made,) = make(tmp_path, images(), split)
    assert {key: side for key, side in sides["uc_merced"].items() if side} == {
        "c0/c0_00.jpg": "train", "c1/c1_04.jpg": "train", "c0/c0_05.jpg": "val",
        "c0/c0_01.jpg": "test", "c2/c2_04.jpg": "test",
    }  # fmt: skip
    assert made.how == {"by": "lists", "identical": "leave_out", **paths}
    assert list_files(split) == [paths[side] for side in SIDES]


def test_the_stage_s_own_table_can_be_kept_as_a_list(tmp_path):
    drawn_once = run_split(tmp_path, images(), drawn(seeds=[0, 5]))
    assert drawn_once.returncode == 0, drawn_once.stderr
    table = read_splits(tmp_path / "splits" / "mine.csv")
    split = {"by": "lists", "files": [str(table.path)]}
    sides, _ = make(tmp_path, images(), split)
    for name in ("seed-0", "seed-5"):
        expected = [("train", "val", "test", "")[place] for place in table.side(name)]
        assert list(sides[name].values()) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,side\n", r"line 1 is 'file,side'; expected a header with the columns key and split"),
        ("key,key,split\n", r"expected a header"),
        ("", r"expected a header"),
        ("key,split\nc0/c0_99.jpg,train\n", r"line 2: 'c0/c0_99.jpg' is no image"),
        ("key,split\nc9/c0_01.jpg,train\n", r"line 2: 'c9/c0_01.jpg' is no image"),
        ("key,split\nc0/c0_01.jpg,training\n", r"line 2: split is 'training'; expected train, val"),
        ("key,split\nc0/c0_01.jpg,train\nc0_01.tif,train\n",
         r"line 3: 'c0_01.tif' stands twice for train, see .*line 2"),
        ("key,split\nc0/c0_01.jpg,train\nc0/c0_01.jpg,test\n",
         r"line 3: 'c0/c0_01.jpg' is for test and train, see .*line 2"),
        ("key,split\nc0/c0_01.jpg\n", r"line 2 has 1 cells, the header 2"),
        ('key,split\n"c0/c0_01.jpg,train\n', r"is not CSV"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused_with_its_line(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        make(tmp_path, images(), lists(tmp_path, few_dot_csv=text))


def test_a_file_name_that_two_images_have_is_refused(tmp_path):
    items = [item("a/1.jpg"), item("b/1.jpg"), item("b/2.jpg")]
    split = lists(tmp_path, few_dot_csv="key,split\n2.jpg,train\n1.jpg,test\n")
    with pytest.raises(UserError, match=r"line 3: '1.jpg' is the name of several images"):
        make(tmp_path, items, split)


def test_lists_that_are_missing_or_of_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"none.csv: No such file"):
        make(tmp_path, images(), {"by": "lists", "files": [str(tmp_path / "none.csv")]})
    split = lists(tmp_path, few_dot_csv="key,split\n")
    with pytest.raises(UserError, match="two files give a split called 'few'"):
        make(tmp_path, images(), {**split, "files": split["files"] * 2})
    with pytest.raises(UserError, match="expected train and test"):
        make(tmp_path, images(), {"by": "lists", "files": [{"train": "a.txt", "val": None}]})
    (tmp_path / "odd.csv").write_bytes(b"key,split\n\xff,train\n")
    with pytest.raises(UserError, match="not UTF-8"):
        make(tmp_path, images(), {"by": "lists", "files": [str(tmp_path / "odd.csv")]})


# --- the stage -----------------------------------------------------------------------------------


def test_the_table_and_its_json_say_all_and_are_the_same_bytes_again(tmp_path):
    items = [*images(2, 4), item('c1/odd "name", ü.jpg'), item("top.jpg", label=None)]
    split = drawn(seeds=[0, 1])
    assert run_split(tmp_path, items, split).returncode == 0
    files = {p.name: p.read_bytes() for p in (tmp_path / "splits").glob("mine.[cj]*")}
    assert run_split(tmp_path, items, split).returncode == 0
    assert files == {p.name: p.read_bytes() for p in (tmp_path / "splits").glob("mine.[cj]*")}
    table = read_splits(tmp_path / "splits" / "mine.csv")
    assert table.keys == sorted(one.key for one in items)
    label_of = {one.key: one.label or "" for one in items}
    assert table.labels == [label_of[key] for key in table.keys]
    assert (table.classes, table.multi_label) == (["c0", "c1"], False)
    assert table.names == ["seed-0", "seed-1"]
    body = json.loads(files["mine.json"])
    assert body["digests"]["inputs"].keys() == {"manifest"}
    for row in body["splits"]:
        side = table.side(row["name"])
        assert row["counts"] == {s: int((side == n).sum()) for n, s in enumerate(SIDES)}
        told = [
            [key, SIDES[place], label]
            for key, place, label in zip(table.keys, side, table.labels, strict=True)
            if place >= 0
        ]
        assert row["digest"] == table.digest(row["name"]) == digest(sorted(told))
    numbers = [-1 if not label else table.classes.index(label) for label in table.labels]
    assert table.label_numbers().tolist() == numbers
    with pytest.raises(UserError, match="no split 'seed-2', it has seed-0, seed-1"):
        table.side("seed-2")
    judged = np.any([table.side(name) == SIDES.index("test") for name in table.names], axis=0)
    tests = [(key, content(key)) for key, one in zip(table.keys, judged, strict=True) if one]
    assert list(judged_items(table.path)) == tests


def test_several_labels_are_columns_of_a_matrix(tmp_path):
    items = [
        item("1.jpg", labels=("road", "tree"), split="train"),
        item("2.jpg", labels=("tree",), split="test"),
        item("3.jpg", labels=(), split="train"),
    ]
    assert run_split(tmp_path, items, {"by": "dataset"}).returncode == 0
    table = read_splits(tmp_path / "splits" / "mine.csv")
    assert table.multi_label
    assert table.labels == ["road;tree", "tree", ""]
    assert table.label_matrix().tolist() == [[True, True], [False, True], [False, False]]
    assert table.side("dataset").tolist() == [0, 2, -1]


def test_a_digest_holds_through_new_files_and_changes_with_a_side_or_a_class(tmp_path):
    learnt = "c0/c0_02.jpg,train\nc1/c1_02.jpg,train\n"
    rows = "key,split\nc0/c0_00.jpg,train\nc1/c1_00.jpg,test\n" + learnt
    split = lists(tmp_path, few_dot_csv=rows)

    def found(items):
        assert run_split(tmp_path, items, split).returncode == 0
        return read_splits(tmp_path / "splits" / "mine.csv").digest("few")

    first = found(images(2))
    assert found([*images(2), item("c1/new.jpg")]) == first
    relabelled = [item("c0/c0_00.jpg", label="c1"), *images(2)[1:]]
    assert found(relabelled) != first
    (tmp_path / "few.csv").write_text(rows.replace("c0_00.jpg,train", "c0_00.jpg,val"))
    assert found(images(2)) != first


def test_an_edited_table_is_not_read(tmp_path):
    assert run_split(tmp_path, images(), drawn()).returncode == 0
    path = tmp_path / "splits" / "mine.csv"
    path.write_text(path.read_text().replace(",test", ",train", 1))
    with pytest.raises(UserError, match=r"its checksum is not the one in .*mine.json"):
        read_splits(path)


def test_a_split_without_a_side_ends_the_stage_with_a_line(tmp_path):
    done = run_split(tmp_path, images(2, 2), drawn(train=0.9, test=0.1))
    assert done.returncode == 1
    assert "split 'seed-0' has no image for test (4 train, 0 val, 0 test of 4)" in done.stderr
    assert not (tmp_path / "splits" / "mine.csv").exists()
    _, made = make(tmp_path, images(), drawn())
    check_sides(made, read_items(tmp_path / "places.jsonl"), benchmark="places")


def test_a_class_that_is_never_learnt_ends_the_stage_with_its_name(tmp_path):
    one = [*images(2, 10), item("rare/only.jpg")]
    done = run_split(tmp_path, one, drawn(train=0.3, test=0.7))
    assert done.returncode == 1
    told = "split 'seed-0' has no image for training of 1 of 3 classes: 'rare'; change benchmarks"
    assert told in done.stderr
    alone = run_split(tmp_path, images(1, 10), drawn())
    assert "all images are of class 'c0'; a benchmark needs two classes" in alone.stderr
    several = [item("1.jpg", labels=("a", "b"), split="train"),
               item("2.jpg", labels=("b", "c"), split="test")]  # fmt: skip
    assert "1 of 3 classes: 'c'" in run_split(tmp_path, several, {"by": "dataset"}).stderr


def test_a_dataset_without_a_class_is_no_benchmark(tmp_path):
    with pytest.raises(UserError, match="none of 2 images has a class"):
        make(tmp_path, [item("1.jpg", label=None), item("2.jpg", label=None)], drawn())
    with pytest.raises(UserError, match=r"2.jpg has a list of labels, 1.jpg has one label"):
        make(tmp_path, [item("1.jpg", label="a"), item("2.jpg", labels=("a",))], drawn())


@pytest.mark.data
def test_the_copies_in_uc_merced_never_cross(tmp_path, shared_data):
    """`airplane01` and `airplane02` are one image, and the split in use trains and tests on it."""
    rows = (shared_data / "ucm" / "split_source.csv").read_text().split()[1:]
    kept = ["key,split", *(",".join(row.split(",")[1:]) for row in rows)]
    (tmp_path / "seen.csv").write_text("\n".join(kept))
    sums = {}
    for row in rows:
        label, name, _ = row.split(",")
        path = shared_data / "ucm" / label / name
        sums[f"{label}/{name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    items = [
        Item(key=key, path=key, sha256=sha256, bytes=1, label=key.partition("/")[0])
        for key, sha256 in sums.items()
    ]
    assert len(items) == 2100
    assert sums["airplane/airplane01.jpg"] == sums["airplane/airplane02.jpg"]
    sides, _ = make(tmp_path, items, {"by": "lists", "files": [str(tmp_path / "seen.csv")]})
    halves, _ = make(tmp_path, items, drawn(seeds=range(5)))
    for found in (*sides.values(), *halves.values()):
        pair = {found["airplane/airplane01.jpg"], found["airplane/airplane02.jpg"]} - {""}
        assert len(pair) == 1
        assert len([side for side in found.values() if side]) >= 2099
