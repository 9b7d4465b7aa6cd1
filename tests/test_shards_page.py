"""The examples of docs/shards.md run as they stand, on corpora that the pack stage wrote."""

import json
import re
from argparse import Namespace

import numpy as np
import pytest
from pictures import encoded, picture

from tests.conftest import ROOT
from tests.test_pack import RECIPE, item
from tests.test_pack_chips import chips, recipe_of, write_shard
from workflow_scripts.fetch.manifest import write_manifest
from workflow_scripts.pack.__main__ import work


def example(word):
    """The lines of the one Python block of the page that reads without Orbweaver and has `word`."""
    page = (ROOT / "docs" / "shards.md").read_text()
    section = page.partition("## Reading one without Orbweaver")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (code,) = [block for block in blocks if word in block]
    return code


def run(code):
    """The variables that the lines leave behind."""
    names = {}
    exec(compile(code, "docs/shards.md", "exec"), names)
    return names


@pytest.mark.parametrize("word", ["pool", "counts"])
def test_the_examples_have_ten_lines_and_need_plain_h5py_only(word):
    lines = [line for line in example(word).splitlines() if line]
    assert len(lines) <= 10
    assert "workflow_scripts" not in example(word)


def test_the_lines_for_images_read_a_packed_corpus(tmp_path, monkeypatch, capsys):
    items, sources = [], {}
    for number, label in enumerate(["forest", None, "river"]):
        path = tmp_path / "raw" / f"ä{number}.png"
        path.parent.mkdir(exist_ok=True)
        sources[f"places/{path.name}"] = label, picture(number, size=(12 + number, 10))
        path.write_bytes(encoded(sources[f"places/{path.name}"][1], "PNG"))
        items.append(item(path, tmp_path / "raw", label=label))
    write_manifest(tmp_path / "places.jsonl", items)
    index = tmp_path / "data" / "shards" / "scenes-train" / "index.json"
    work(
        Namespace(index=index, manifests=[tmp_path / "places.jsonl"], judged=[], workers=1), RECIPE
    )
    monkeypatch.chdir(tmp_path)
    names = run(example("pool"))
    key, label, size = re.fullmatch(r"(\S+) (\S+) (.*)\n", capsys.readouterr().out).groups()
    expected_label, source = sources[key]
    assert (label, size) == (str(expected_label), str(source.size))
    np.testing.assert_array_equal(np.asarray(names["image"]), np.asarray(source))


def test_the_lines_for_chips_read_a_packed_corpus(tmp_path, monkeypatch, capsys):
    samples = chips("2026-01-05", count=2, missing=0.2)
    write_shard(tmp_path / "chips", "2026-01-05", samples, bands=["31", "6"])
    index = tmp_path / "data" / "shards" / "modis" / "index.json"
    arguments = Namespace(index=index, manifests=None, chips_root=tmp_path / "chips", workers=1)
    work(arguments, recipe_of("2026-01-05"))
    monkeypatch.chdir(tmp_path)
    names = run(example("counts"))
    counts, scale, offset = samples[0].counts, samples[0].scale, samples[0].offset
    assert counts.shape == names["values"].shape
    for band in range(2):
        for value, count in zip(names["values"][band].flat, counts[band].flat, strict=True):
            if count > 32767:
                assert np.isnan(value)
            else:
                assert value == pytest.approx((count - offset[band]) * scale[band], rel=1e-12)
    assert capsys.readouterr().out.startswith("2026-01-05:0 (2, 8, 8) [")
    assert json.loads(index.read_text())["count"] == 2
