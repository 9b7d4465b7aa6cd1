"""A folder or a table of labelled images becomes a benchmark by the lines that the guides give."""

import re

import pytest
import yaml

from tests.conftest import ROOT
from tests.test_config import DEFAULT
from tests.workspace import Workspace
from workflow_scripts.config_check import check_config
from workflow_scripts.jobs import Jobs
from workflow_scripts.split.table import read_splits


def examples(page, section):
    """The YAML of a section of a guide."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    part = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```yaml\n(.*?)```", part, flags=re.S)


def over_default(*changes):
    raw = dict(DEFAULT)
    for change in changes:
        for key, entries in change.items():
            old = raw.get(key, {})
            raw[key] = {**old, **{k: {**old.get(k, {}), **entries[k]} for k in entries}}
    return check_config(raw)


@pytest.mark.parametrize("text", examples("your-own-data.md", "Your own benchmark"))
def test_four_lines_are_enough(text):
    assert len(text.splitlines()) == 4
    change = yaml.safe_load(text)
    config = over_default(change)
    (name,) = change["benchmarks"]
    jobs = [job.title for job in Jobs(config).stamped()]
    assert {f"fetch {name}", f"split {name}", f"pack bench-{name}"} <= set(jobs)
    assert f"probe scenes-mae {name}" in jobs


def test_every_way_to_split_of_the_guide_is_valid():
    (text,) = examples("probing.md", "Splits")
    change = yaml.safe_load(text)
    folder = {"kind": "image-folder", "path": "data/raw/mine"}
    new = {name: {"dataset": "mine", "encoders": []} for name in ("crops", "fields", "roads")}
    config = over_default({"datasets": {"mine": folder}}, {"benchmarks": new}, change)
    specs = {name: Jobs(config).split(name).recipe["split"] for name in change["benchmarks"]}
    assert specs["ucm"] == {
        "by": "fraction", "train": 0.5, "val": 0.0, "test": 0.5, "seeds": [0, 1, 2],
        "stratified": True,
    }  # fmt: skip
    assert [specs[name]["by"] for name in ("crops", "fields", "roads")] == [
        "fraction", "dataset", "lists",
    ]  # fmt: skip


@pytest.mark.pipeline
def test_tables_of_splits_are_made_and_an_edited_list_makes_them_again(tmp_path):
    work = Workspace(tmp_path)
    (tmp_path / "list.csv").write_text("path,labels\n" + "".join(
        f"bright/{n}.jpg,light;{'even' if n % 2 == 0 else 'odd'}\ndark/{n}.jpg,dim\n"
        for n in range(4)
    ))  # fmt: skip
    (tmp_path / "some.csv").write_text(
        "key,split\n"
        + "".join(f"{k}/{n}.jpg,{'train' if n < 2 else 'test'}\n" for k in ("bright", "dark")
                  for n in range(4))
    )  # fmt: skip
    own = {
        "datasets": {"patches": {"kind": "image-list", "path": "photos", "list": "list.csv"}},
        "benchmarks": {
            "patches": {
                "dataset": "patches", "encoders": ["scenes-mae"],
                "split": {"by": "lists", "files": ["some.csv"]},
            },
            "halves": {
                "dataset": "photos", "encoders": ["scenes-mae"],
                "split": {"by": "fraction", "train": 0.5, "seeds": [0, 1]},
            },
        },
        # Half of the photos judge in each of two splits: these stay out.
        "corpora": {"all-photos": {"datasets": ["photos", "patches"]}},
    }  # fmt: skip
    tiny = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    for key, entries in own.items():
        tiny[key] = {**tiny.get(key, {}), **entries}
    del tiny["benchmarks"]["photos"]
    tiny["all"]["benchmarks"].remove("photos")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    targets = ["data/shards/all-photos/index.json", "data/shards/bench-patches/index.json"]
    work.snakemake(*targets, "--cores", "2")
    patches = read_splits(tmp_path / "data/splits/patches.csv")
    assert patches.classes == ["dim", "even", "light", "odd"]
    assert patches.side("some").tolist() == [0, 0, 2, 2] * 2
    halves = read_splits(tmp_path / "data/splits/halves.csv")
    assert halves.names == ["seed-0", "seed-1"]
    index = yaml.safe_load((tmp_path / targets[0]).read_text())
    tests = set()
    for table in (patches, halves):
        for name in table.names:
            sides = zip(table.contents, table.side(name), strict=True)
            tests |= {sha for sha, side in sides if side == 2}
    # All patches are copies of photos, which stand in a split of their dataset: they keep it.
    assert index["count"] == sum(sha not in tests for sha in halves.contents)
    assert index["digests"]["inputs"].keys() == {
        "manifest:photos", "manifest:patches", "split:patches", "split:halves",
    }  # fmt: skip

    def planned():
        done = work.snakemake(*targets, "-n")
        return set(re.findall(r"^ *(?:local)?rule (\w+):$", done.stdout + done.stderr, flags=re.M))

    assert planned() == set()
    work.edit("some.csv", "bright/3.jpg,test", "bright/3.jpg,")
    assert planned() == {"split", "pack"}
    work.edit("list.csv", "light;odd", "light;strange")
    assert planned() == {"fetch_folder", "split", "pack"}
