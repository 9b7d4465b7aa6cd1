"""Pictures of studies, plans and runs together: whole, the same twice, honest about what failed."""

import csv
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.report_tree import TRAP
from tests.study_results import point, small_points, write_study
from workflow_scripts.report.figures_losses import comparable, losses_figure, thinned
from workflow_scripts.report.figures_modes import modes_figure
from workflow_scripts.report.figures_parameters import count, places
from workflow_scripts.report.figures_planned import median_error, pairs, planned_figure
from workflow_scripts.report.figures_reading import reading_figure
from workflow_scripts.report.figures_scaling import scaling_figure
from workflow_scripts.report.figures_strategies import memory_figure, strategies_figure
from workflow_scripts.report.figures_sweeps import SETTINGS, sweep_figure
from workflow_scripts.report.figures_time import time_figure
from workflow_scripts.report.panels import MOST_PANELS
from workflow_scripts.report.plan_data import PlanData
from workflow_scripts.report.style import styled
from workflow_scripts.study.points import StudyData, read_study

SVG = "{http://www.w3.org/2000/svg}"


def texts(path: Path) -> list[str]:
    """Every text of a figure."""
    return ["".join(one.itertext()).strip() for one in ET.parse(path).iter(f"{SVG}text")]


def study_of(tmp_path, rows, name="sample", label="Sample study"):
    return read_study(write_study(tmp_path, name, rows, label))


def draw_all(study: StudyData, folder: Path) -> list[Path]:
    """Every kind of figure, whether the study fills it or not."""
    with styled():
        paths = [
            draw(study, folder)
            for draw in (
                scaling_figure,
                strategies_figure,
                modes_figure,
                time_figure,
                reading_figure,
            )
        ]
        paths.append(memory_figure(study, [], folder))
        return paths + [sweep_figure(study, kind, folder) for kind in SETTINGS]  # fmt: skip


STUDIES = {
    "one-point": lambda: [point(3.0)],
    "all-failed": lambda: [point(None, local=n, strategy=s, status="out_of_memory")
                           for n, s in ((1, "no_shard"), (2, "ddp"))],
    "reads-only": lambda: [point(9.0, mode="io", workers=0)],
}  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_every_figure_can_be_drawn_of_any_study(name, tmp_path):
    for path in draw_all(study_of(tmp_path, STUDIES[name](), name), tmp_path):
        assert ET.parse(path).getroot().tag == f"{SVG}svg"
        assert path.with_suffix(".csv").is_file()


def test_pictures_and_data_are_the_same_twice(tmp_path):
    study = study_of(tmp_path, small_points(ranks=(1, 2)))
    first, second = (draw_all(study, tmp_path / folder) for folder in "ab")
    for one, other in zip(first, second, strict=True):
        for suffix in (".svg", ".csv"):
            assert one.with_suffix(suffix).read_bytes() == other.with_suffix(suffix).read_bytes(), (
                one
            )


def test_failed_points_are_marked_and_in_the_data(tmp_path):
    rows = [point(50.0), point(90.0, strategy="ddp", local=2),
            point(None, strategy="ddp", local=4, status="out_of_memory"),
            point(None, strategy="full_shard", local=4, status="timeout"),
            point(None, strategy="shard_grad_op", local=2, status="failed")]  # fmt: skip
    study = study_of(tmp_path, rows)
    with styled():
        for path in (scaling_figure(study, tmp_path), memory_figure(study, [], tmp_path),
                     strategies_figure(study, tmp_path)):  # fmt: skip
            assert {"out of memory", "time limit", "failed"} <= set(texts(path))
            with path.with_suffix(".csv").open(encoding="utf-8") as file:
                ended = {row["status"] for row in csv.DictReader(file)}
            assert ended == {"done", "out_of_memory", "timeout", "failed"}


def test_nothing_measured_is_said(tmp_path):
    study = study_of(tmp_path, STUDIES["all-failed"]())
    told = {path.stem: texts(path) for path in draw_all(study, tmp_path)}
    for kind in ("scaling", "strategies", "memory", "modes", "time", "sequence"):
        assert "no point was measured" in told[f"{kind}_sample"], kind


def test_twenty_strategies_are_all_in_the_legend(tmp_path):
    names = [f"hybrid_shard_{k}" for k in range(1, 21)]
    study = study_of(tmp_path, [point(100.0 + k, strategy=name, local=n)
                                for k, name in enumerate(names) for n in (2, 4)])  # fmt: skip
    with styled():
        for draw in (scaling_figure, strategies_figure):
            assert set(names) <= set(texts(draw(study, tmp_path)))


def test_names_of_any_signs_stay_text(tmp_path):
    rows = [point(10.0 * n, encoder=TRAP, strategy="ddp" if n > 1 else "no_shard", local=n,
                  device="GPU <&> $x_1$", patch=p) for n in (1, 2) for p in (8, 4)]  # fmt: skip
    study = study_of(tmp_path, rows, label=TRAP)
    for path in draw_all(study, tmp_path):
        assert not list(ET.parse(path).iter("script"))
    assert any(text.startswith("<script>alert('x')</script> $") for text in
               texts(tmp_path / "scaling_sample.svg"))  # fmt: skip


def test_more_combinations_than_panels_are_told(tmp_path):
    rows = [point(10.0 * n, encoder=f"e{k}", local=n) for k in range(14) for n in (1, 2)]
    study = study_of(tmp_path, rows)
    with styled():
        told = texts(scaling_figure(study, tmp_path))
    assert sum(bool(re.fullmatch(r"e\d+", text)) for text in told) == MOST_PANELS
    assert any("the first 12 of 14 combinations" in text for text in told)


def plan(rows):
    made = {"machine": {"name": "here", "memory_bytes": 4e9}, "options": [], "measured": rows}
    return PlanData(name="p", label="Plan", study="sample", result=made)


def test_the_planner_is_judged_by_the_median_of_its_errors(tmp_path):
    rows = [
        {"point": f"p{n}", "mode": "synthetic", "strategy": "ddp", "nodes": 1, "ranks": 2,
         "images_per_s": 100.0, "predicted_images_per_s": 100.0 + off, "memory_bytes": None,
         "predicted_memory_bytes": 1e9}
        for n, off in enumerate((-10, 2, 30))
    ]  # fmt: skip
    found = plan(rows)
    assert median_error(pairs(found, "images_per_s")) == pytest.approx(0.1)
    assert median_error(pairs(found, "memory_bytes")) is None
    with styled():
        told = texts(planned_figure(found, tmp_path))
        assert "3 points, median error 10.0 %" in told
        assert "nothing was measured on a GPU" in told
        (tmp_path / "empty").mkdir()
        empty = texts(planned_figure(plan([]), tmp_path / "empty"))
        assert {"nothing was measured", "nothing was measured on a GPU"} <= set(empty)


def run(name, objective, *, norm=False, steps=10, label=None):
    history = [{"step": n, "samples": 32 * n, "loss": 1 / n} for n in range(1, steps + 1)]
    summary = {"recipe": {"mask": {"norm_pix": norm}}, "encoder_parameters": 10**6}
    return SimpleNamespace(name=name, label=label or name, objective=objective, summary=summary,
                           history=history, synthetic=name == "c")  # fmt: skip


def test_a_device_s_memory_is_a_line_where_it_is_near_and_words_where_it_is_far(tmp_path):
    study = study_of(tmp_path, [point(5.0, peak_memory_bytes=3e9)])
    far = replace(plan([]), result={**plan([]).result, "machine": {"memory_bytes": 64e9}})
    with styled():
        near, beyond, unknown = (
            texts(memory_figure(study, plans, tmp_path / str(place)))
            for place, plans in enumerate(([plan([])], [far], []))
        )
    assert "memory of the device" in near
    assert "ranks (the device has 64 GB)" in beyond
    assert "memory of the device" not in beyond
    assert not any("device" in text for text in unknown)


def test_losses_of_other_kinds_are_in_panels_of_their_own(tmp_path):
    runs = [run("a", "mae"), run("b", "mae", norm=True), run("c", "simmim", label=TRAP),
            run("d", "mae")]  # fmt: skip
    found = {title: [one.name for one in group] for title, group in comparable(runs).items()}
    assert found == {"mae": ["a", "d"], "mae, patches normalised": ["b"], "simmim": ["c"]}
    with styled():
        path = losses_figure(runs, tmp_path)
        assert "SYNTHETIC DATA" in texts(path)
        again = losses_figure(runs, tmp_path / "again")
    assert path.read_bytes() == again.read_bytes()


def test_long_histories_are_averaged_in_groups_of_neighbours():
    x, y = np.arange(10.0), np.arange(10.0) ** 2
    y[3] = np.nan
    same = thinned(x, y, 9)
    np.testing.assert_array_equal(same[0], np.delete(x, 3))
    few = thinned(x, y, 4)  # nine points in groups of three
    np.testing.assert_allclose(few[0], [1, 5, 8])
    np.testing.assert_allclose(few[1], [5 / 3, (16 + 25 + 36) / 3, (49 + 64 + 81) / 3])


def test_encoders_of_one_size_stand_side_by_side():
    assert places([1e6, 1e8], 0.1) == pytest.approx([6, 8])
    assert places([1e6, 1e6], 0.1) == pytest.approx([5.95, 6.05])
    assert [count(v) for v in (86e6, 1.1e9, 999_999, 50.0)] == ["86 M", "1.1 B", "1 M", "50"]


def test_a_line_s_own_points_are_drawn_not_those_of_another_device(tmp_path):
    rows = [point(10.0 * n, strategy="ddp", local=n, device=d) for n in (2, 4) for d in ("a", "b")]
    study = study_of(tmp_path, rows)
    only = replace(study, points=[one for one in study.points if one.device == "a"])
    with styled():
        both, one = (scaling_figure(s, tmp_path / s.points[-1].device) for s in (study, only))
    assert {"a", "b"} <= set(texts(both))
    assert "b" not in texts(one)
