"""The table of a study, what it shows, and how failed points are measured again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.study_results import point, write_study
from tests.test_sites import at_home, configured, mistakes, profile, slurm  # noqa: F401
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json
from workflow_scripts.plan.node_hours import study_rows
from workflow_scripts.site_checks import OnSite
from workflow_scripts.site_points import missing_points
from workflow_scripts.studies import points
from workflow_scripts.study.__main__ import parser, work
from workflow_scripts.study.forget import forget_failed
from workflow_scripts.study.points import read_study
from workflow_scripts.study.shown import shown


def test_a_table_shows_medians_with_their_spread_and_what_failed(tmp_path):
    rows = [
        point(100.0),
        point(150.0, strategy="ddp", local=2),
        point(None, strategy="ddp", local=4, status="out_of_memory", error="HIP: no memory"),
    ]
    text = shown(read_study(write_study(tmp_path, "s", rows, "L")))
    title, _, first, second, third, failed = text.splitlines()
    assert title == "L (s)"
    assert "100.0 ± 2.0" in first
    assert first.split()[-6:] == ["100", "%", "0", "%", "2.00", "done"]
    assert second.split()[-6:] == ["75", "%", "0", "%", "2.00", "done"]
    assert third.split()[-4:] == ["-", "out", "of", "memory"]
    assert failed == f"{rows[2]['point']}: HIP: no memory"


def test_a_slow_point_is_shown_with_the_digits_that_tell_it(tmp_path):
    text = shown(read_study(write_study(tmp_path, "s", [point(0.04)], "L")))
    assert "  0.040 ± 0.001  " in text


def test_the_table_is_made_from_points_that_failed_too_and_these_are_forgotten(tmp_path):
    folder = tmp_path / "s"
    stamp = {"schema_version": 1, "stage": "scaling", "recipe": {}, "digests": {}}
    big = point(None, status="out_of_memory")
    for name, row in (("one", point(100.0)), ("big", big)):
        write_json(folder / f"{name}.json", stamp | row | {"point": name})
        write_json(folder / f"{name}.provenance.json", {})
        (folder / f"{name}.mllog").touch()
    recipe = {"study": "s", "label": "L", "points": ["one", "big"]}
    command = [sys.executable, "-m", "workflow_scripts.study"]
    making = ["--recipe", json.dumps(recipe), "--points", folder, "--output", tmp_path / "s.json"]
    subprocess.run([*command, *making], cwd=ROOT, check=True)
    table = read_json(tmp_path / "s.json")
    assert [(one["point"], one["status"]) for one in table["points"]] == [
        ("one", "done"), ("big", "out_of_memory"),
    ]  # fmt: skip
    assert not {"schema_version", "recipe"} & table["points"][0].keys()
    assert forget_failed(tmp_path / "s.json") == ["big"]
    assert not (tmp_path / "s.json").exists()  # else Snakemake would not look for its points
    assert sorted(path.name for path in folder.iterdir()) == [
        "one.json", "one.mllog", "one.provenance.json",
    ]  # fmt: skip
    assert forget_failed(tmp_path / "s.json") == []
    with pytest.raises(UserError, match="no folder"):
        forget_failed(tmp_path / "t.json")
    write_json(folder / "odd.json", [])
    with pytest.raises(UserError, match=r"odd\.json: no point"):
        forget_failed(tmp_path / "s.json")


@pytest.mark.parametrize("body", [[1], {}, {"point": "two", "status": "done"}, {"point": "one"}])
def test_a_table_is_made_of_its_own_points_alone(tmp_path, body):
    write_json(tmp_path / "s" / "one.json", body)
    recipe = json.dumps({"study": "s", "label": "L", "points": ["one"]})
    output = tmp_path / "s.json"
    words = ["--recipe", recipe, "--points", str(tmp_path / "s"), "--output", str(output)]
    with pytest.raises(UserError, match=r"one\.json: .* delete"):
        work(parser().parse_args(words))
    assert not output.exists()


@pytest.mark.parametrize(
    ("study", "told"),
    [
        ([], "no study"),
        ({"stage": "scaling"}, "no study"),
        ({"stage": "study", "points": [1]}, "damaged"),
        ({"stage": "study", "points": [point(1.0) | {"images_per_s": 3}]}, "damaged"),
    ],
)
def test_what_is_no_table_is_not_shown(study, told, tmp_path):
    write_json(tmp_path / "s.json", study)
    with pytest.raises(UserError, match=rf"s\.json: {told}"):
        work(parser().parse_args(["--show", str(tmp_path / "s.json")]))


# --- on a site -----------------------------------------------------------------------------------


def sampled(**changes):
    config = configured()
    sample = {"ranks_per_node": [8], "nodes": [1, 2], "minutes": 30, **changes}
    config.studies["sample"] = config.studies["sample"].model_copy(update=sample)
    return config, [("sample", one.name) for one in points(config, "sample")]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"minutes": 121}, "studies.sample.minutes: 121 minutes, but partition batch gives jobs of "
         "1 node 120 at most"),
        ({"nodes": [9500]}, "studies.sample.nodes: 9500 nodes, but partition batch gives a job "
         "9472 at most"),
    ],
)  # fmt: skip
def test_a_study_that_the_site_would_not_take_is_refused(changes, told, at_home):  # noqa: F811
    config, wanted = sampled(**changes)
    on = profile(others={"point": {"mpi": "srun"}})
    with pytest.raises(UserError) as error:
        OnSite(config, on).refuse([], wanted)
    assert told in str(error.value)
    OnSite(config, on).refuse([], [])  # nothing of it would run


def test_a_study_that_fits_is_taken_and_its_node_hours_are_told(at_home):  # noqa: F811
    config, wanted = sampled()
    OnSite(config, profile(others={"point": {"mpi": "srun"}})).refuse([], wanted)
    (found,) = study_rows(config, wanted)
    on_one = sum("_1x8_" in name for _, name in wanted)
    assert found.node_hours == (on_one + 2 * (len(wanted) - on_one)) * 0.5
    assert found.cells[0] == "study sample"


def test_points_that_are_there_are_not_counted(at_home):  # noqa: F811
    config, wanted = sampled()
    write_json(Path("results") / "scaling" / "sample" / f"{wanted[0][1]}.json", {})
    assert missing_points(config, ["sample"]) == wanted[1:]
