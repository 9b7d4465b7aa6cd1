"""The table of a study, what it shows, and how failed points are measured again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.study_results import point, published_points, small_points, write_study
from tests.test_sites import at_home, configured, mistakes, profile, slurm  # noqa: F401
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json
from workflow_scripts.plan.node_hours import study_rows
from workflow_scripts.report.study_data import read_study
from workflow_scripts.report.tables_scaling import study_table
from workflow_scripts.site_checks import OnSite
from workflow_scripts.site_points import missing_points
from workflow_scripts.studies import points
from workflow_scripts.study.__main__ import parser, work
from workflow_scripts.study.forget import forget_failed
from workflow_scripts.study.shown import efficiency, shown


def row(name, speed, *, ranks, nodes=1, **changes):
    """A point of a table; speed None: it ran out of memory."""
    done = speed is not None
    return {
        "point": name, "encoder": "a", "patch": None, "mode": "synthetic", "nodes": nodes,
        "strategy": "full_shard" if ranks > 1 else "no_shard", "ranks": ranks, "batch": 32,
        "workers": None, "prefetch": None, "gather_ahead": 0 if ranks > 1 else None,
        "ranks_per_node": ranks // nodes, "device": "cpu" if done else None,
        "images_per_s": {"median": speed, "least": speed - 1, "most": speed + 2} if done else None,
        "data_wait": 0.0 if done else None, "peak_memory_bytes": 2_500_000_000 if done else None,
        "status": "done" if done else "out_of_memory",
        "error": None if done else "HIP out of memory", **changes,
    }  # fmt: skip


def test_efficiency_is_held_against_the_fewest_ranks_of_the_same():
    alone, eight = row("one", 100.0, ranks=1), row("eight", 600.0, ranks=8)
    many = row("many", 1000.0, ranks=16, nodes=2)
    silent = row("silent", 760.0, ranks=8, mode="no_communication")
    assert efficiency(eight, [alone, eight, many]) == pytest.approx(0.75)
    assert efficiency(many, [alone, eight, many]) == pytest.approx(0.625)
    assert efficiency(many, [eight, many]) == pytest.approx(1000 / 16 / (600 / 8))
    assert efficiency(silent, [alone, eight, silent]) == pytest.approx(0.95)
    assert efficiency(row("none", None, ranks=4), [alone]) is None
    other = row("other", 10.0, ranks=8, batch=16)
    assert efficiency(other, [alone, other]) == 1.0
    elsewhere = row("elsewhere", 60.0, ranks=8, device="H100")
    assert efficiency(elsewhere, [alone, elsewhere]) == 1.0


_FAST = [point(rate, strategy="ddp", local=n, device="H100") for n, rate in ((2, 9e2), (4, 12e2))]
_NODES = [point(rate, strategy="ddp", nodes=n, local=2) for n, rate in ((1, 140.0), (2, 250.0))]


@pytest.mark.parametrize(
    ("points", "fewest"),
    [(small_points(), 20), (small_points() + _FAST, 20), (published_points(), 100),
     ([*_NODES, point(100.0), point(350.0, strategy="ddp", nodes=2, local=4)], 4)],
)  # fmt: skip
def test_the_report_and_the_terminal_say_the_same_of_every_point(points, fewest, tmp_path):
    table = study_table(read_study(write_study(tmp_path, "s", points), tmp_path))
    told = [value and value / 100 for value in table.column("efficiency")]
    pairs = [(one["point"], efficiency(one, points), share)
             for one, share in zip(points, told, strict=True) if share is not None]  # fmt: skip
    assert len(pairs) >= fewest
    assert [one for one in pairs if one[1] != pytest.approx(one[2])] == []


def test_a_table_shows_medians_with_their_spread_and_what_failed():
    alone, none = row("one", 100.0, ranks=1), row("big", None, ranks=8)
    text = shown({"label": "L", "study": "s", "points": [alone, none]})
    first, second = text.splitlines()[2:4]
    assert "100.0 ± 1.5" in first
    assert first.split()[-6:] == ["100", "%", "0", "%", "2.50", "done"]
    assert second.split()[-4:] == ["-", "out", "of", "memory"]
    assert text.splitlines()[-1] == "big: HIP out of memory"


def test_the_table_is_made_from_points_that_failed_too_and_these_are_forgotten(tmp_path):
    folder = tmp_path / "s"
    stamp = {"schema_version": 1, "stage": "scaling", "recipe": {}, "digests": {}}
    for name, speed in (("one", 100.0), ("big", None)):
        write_json(folder / f"{name}.json", stamp | row(name, speed, ranks=8))
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
        ({"stage": "study", "points": [row("a", 1.0, ranks=1) | {"images_per_s": 3}]}, "damaged"),
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
