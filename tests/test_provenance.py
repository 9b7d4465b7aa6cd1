"""Provenance files that were changed by hand or damaged: one line that names the file."""

import json
import re

import pytest

from tests.report_tree import make_tree
from workflow_scripts.errors import UserError
from workflow_scripts.provenance import provenance, read_provenance
from workflow_scripts.report.__main__ import all_tables
from workflow_scripts.report.collect import collect
from workflow_scripts.results import stamp, write_result

SEGMENT = {"start_step": 0, "end_step": 5, "seconds": 2.5, "energy_j": None, "device": "cpu"}


def test_what_a_job_wrote_is_read_as_it_is(tmp_path):
    path, facts = tmp_path / "one.json", {"segments": [SEGMENT], "energy_j": None, "watts": 3}
    write_result(path, stamp=stamp("pack", {}, {}), body={}, facts=facts)
    found = read_provenance(tmp_path / "one.provenance.json", segments=list)
    assert found["segments"] == [SEGMENT]
    assert set(found) == {*provenance(), *facts}


@pytest.mark.parametrize(
    ("key", "value"),
    [("versions", ["torch"]), ("versions", {"torch": 2}), ("segments", {"0": {}}),
     ("segments", ["x"]), ("seconds", "1"), ("energy_j", 10**400), ("watts", [1]),
     ("started", 5), ("git_commit", 12), ("machine", {}), ("host", ["a"])],
)  # fmt: skip
def test_what_no_job_wrote_is_refused_by_file_and_key(tmp_path, key, value):
    path = tmp_path / "one.provenance.json"
    path.write_text(json.dumps({**provenance(), key: value}))
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}: '{key}' holds "):
        read_provenance(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("start_step", None), ("end_step", "5"), ("images_per_s", "fast"), ("mfu", {}),
     ("tflops", []), ("rank_peak_memory_bytes", "1 GB"), ("energy_j", 10**400)],
)  # fmt: skip
def test_a_segment_that_no_job_wrote_is_refused(tmp_path, key, value):
    path = tmp_path / "one.provenance.json"
    path.write_text(json.dumps({"segments": [SEGMENT, {**SEGMENT, key: value}]}))
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}: '{key}' holds "):
        read_provenance(path)


def test_the_report_names_a_changed_file_and_takes_one_that_says_little(tmp_path):
    recipe, results = make_tree(tmp_path), tmp_path / "results"
    places = {"results": results, "data": tmp_path / "data", "records": results / "records"}
    path = results / "runs" / "scenes-mae" / "summary.provenance.json"
    path.write_text('{"segments": [3]}')
    with pytest.raises(UserError, match=re.escape(str(path))):
        collect(recipe, **places)
    path.write_text("{}")
    runs = next(table for table in all_tables(collect(recipe, **places)) if table.name == "runs")
    row = dict(zip(runs.column("name"), runs.column("speed"), strict=True))
    assert row["scenes-mae"] is None
    assert row["scenes-gfm"] > 0
