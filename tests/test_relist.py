"""Which days are asked for again, and what is told of them."""

import json
from pathlib import Path

import pytest

from tests.test_laads_listing import Archive, name
from workflow_scripts.config_check import load_config
from workflow_scripts.errors import UserError
from workflow_scripts.fetch import relist as module
from workflow_scripts.fetch.laads.again import ask_again
from workflow_scripts.fetch.laads.write import write_day
from workflow_scripts.fetch.manifest import read_manifest
from workflow_scripts.fetch_recipe import fetch, raw_folder
from workflow_scripts.incomplete import say_incomplete, told_of_days
from workflow_scripts.transfer.client import NotThere

CONFIG = """
paths: {{data: {data}}}
datasets:
  terra:
    kind: modis-l1b
    first: "2026-01-01"
    last: "2026-01-04"
    source: {{kind: laads, url: "https://archive.invalid/archive", companions: []}}
"""
CLOCKS = [f"{minute // 60:02d}{minute % 60:02d}" for minute in range(0, 1440, 5)]


class Days(Archive):
    """A number of granules by day of the year."""

    def __init__(self, **granules):
        super().__init__()
        self.granules = granules

    def text(self, url):
        number = url.removesuffix(".json")[-3:]
        self.asked.append(number)
        count = self.granules.get(f"d{number}")
        if count is None:
            raise NotThere(url)
        rows = [{"name": name(clock, day=f"2026{number}"), "size": 9} for clock in CLOCKS[:count]]
        return json.dumps(rows)


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A configuration, and an archive whose first day is complete; the fourth was never listed."""
    (tmp_path / "config.yaml").write_text(CONFIG.format(data=tmp_path / "data"))
    config = load_config(tmp_path / "config.yaml")
    archive = Days(d001=288, d002=286)
    monkeypatch.setattr(module, "connect", lambda options: archive)
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        manifest = tmp_path / "data" / "manifests" / "terra" / f"{day}.jsonl"
        folder = raw_folder(config, "terra") / day
        write_day(
            fetch(config, "terra", day), archive, url="https://archive.invalid/archive",
            manifest=manifest, folder=folder,
        )  # fmt: skip
    archive.asked.clear()
    return config, archive


def test_only_days_that_were_incomplete_are_asked_for_again(listed):
    config, archive = listed
    assert "2 of 3 days are incomplete" in say_incomplete(config)
    archive.granules |= {"d001": 287, "d003": 288}
    text = module.relist(config, "terra", every=False)
    assert sorted(archive.asked) == ["002", "003"]
    assert text.splitlines() == [
        "terra: 2 of 3 days asked for again, 1 changed, 1 incomplete",
        "  2026-01-02: as it was; the source lacks 2 of 288 granules",
        "  2026-01-03: changed, will be tiled again; complete",
    ]
    assert "1 of 3 days are incomplete" in say_incomplete(config)


def test_all_days_are_asked_for_on_request(listed):
    config, archive = listed
    archive.granules |= {"d001": 287}
    text = module.relist(config, "terra", every=True)
    assert sorted(archive.asked) == ["001", "002", "003"]
    assert text.splitlines()[0] == "terra: 3 of 3 days asked for again, 1 changed, 3 incomplete"


def test_nothing_is_asked_for_where_nothing_is_incomplete(listed):
    config, archive = listed
    archive.granules |= {"d002": 288, "d003": 288}
    module.relist(config, "terra", every=False)
    archive.asked.clear()
    assert (
        module.relist(config, "terra", every=False)
        == "terra: none of 3 days listed is incomplete\n"
    )
    assert archive.asked == []
    assert say_incomplete(config) == ""


def test_a_complete_day_that_was_not_given_as_listed_is_asked_for_again(listed):
    config, archive = listed
    note = ask_again(Path(config.paths.data, "manifests", "terra", "2026-01-01.jsonl"))
    note.touch()
    archive.granules |= {"d002": 288, "d003": 288}
    text = module.relist(config, "terra", every=False)
    assert sorted(archive.asked) == ["001", "002", "003"]
    assert "  2026-01-01: as it was; complete\n" in text
    assert not note.exists()


def test_a_source_that_lists_nothing_any_more_takes_no_day_away(listed):
    config, archive = listed
    archive.granules = {"d003": 288}
    with pytest.raises(UserError) as caught:
        module.relist(config, "terra", every=True)
    text = str(caught.value)
    assert "terra: 3 of 3 days asked for again, 1 changed, 1 incomplete\n" in text
    assert "  2026-01-01: could not be asked for, left as it was\n" in text
    assert "  2026-01-03: changed, will be tiled again; complete\n" in text
    assert "2 days could not be asked for; the first: " in text
    assert "lists no granule of this day any more" in text
    counts = [
        len(list(read_manifest(manifest))) for _, manifest, _ in told_of_days(config, "terra")
    ]
    assert counts == [288, 286, 288]


def test_one_dataset_that_cannot_be_asked_keeps_no_other_from_it(listed, monkeypatch, capsys):
    config, _ = listed
    terra = config.datasets["terra"]
    both = config.model_copy(update={"datasets": {"aqua": terra, "terra": terra}})

    def relist(config, dataset, *, every):
        if dataset == "aqua":
            raise UserError("aqua: no")
        return "terra: yes"

    monkeypatch.setattr(module, "relist", relist)
    monkeypatch.setattr(module, "load_config", lambda *_: both)
    monkeypatch.setattr("sys.argv", ["relist"])
    monkeypatch.delenv(module.CONFIG_VARIABLE, raising=False)
    with pytest.raises(SystemExit) as ended:
        module.main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err) == (True, "terra: yes", "aqua: no\n")
