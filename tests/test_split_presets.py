"""Presets of splits: what papers used, and names that are ratios."""

import pytest

from tests.conftest import ROOT
from workflow_scripts.code_digest import import_closure
from workflow_scripts.errors import UserError
from workflow_scripts.split import presets


@pytest.mark.parametrize(
    ("name", "train"),
    [
        ("ucm-50", 0.5), ("ucm-80", 0.8), ("aid-20", 0.2), ("aid-50", 0.5),
        ("resisc45-10", 0.1), ("resisc45-20", 0.2),
    ],
)  # fmt: skip
def test_percents_are_shares_for_training(name, train):
    spec = presets.preset(name)
    assert spec["by"] == "fraction"
    assert spec["train"] == train
    assert spec["train"] + spec["test"] == pytest.approx(1)
    assert spec["seeds"] == [0, 1, 2]


@pytest.mark.parametrize("name", ["ucm-55", "aid-28", "aid-55", "resisc45-19", "resisc45-28"])
def test_two_digits_of_a_ratio_are_no_percents(name):
    train, test = (int(digit) / 10 for digit in name[-2:])
    spec = presets.preset(name)
    assert (spec["train"], spec["test"]) == (train, test)
    assert "ratio" in presets.presets()[name]["note"]


def test_every_preset_has_its_sources():
    for entry in presets.presets().values():
        assert entry["note"]
        assert all(paper["link"].startswith("https://arxiv.org/") for paper in entry["papers"])


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"no split is called 'ucm-5'.*did you mean 'ucm-5"):
        presets.preset("ucm-5")


def test_the_presets_are_no_part_of_what_a_split_is_made_by():
    """A note in the table makes nothing stale: recipes carry the fractions."""
    assert not [name for name in import_closure("split") if "presets" in name]


def test_the_guide_lists_them_all():
    text = (ROOT / "docs" / "probing.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:] for line in text.splitlines() if line.startswith("| `")]
    listed = {row[0].strip(" `"): row for row in rows}
    for name, entry in presets.presets().items():
        _, percent, source, *_ = listed[name]
        assert float(percent) == 100 * entry["train"]
        assert source.strip().endswith(entry["note"])
