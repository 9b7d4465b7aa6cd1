"""What figures of studies are made of: lines, efficiency, parts of a step, names."""

import json

import pytest

from tests.study_results import NODES, PUBLISHED, point, published_points, small_points, write_study
from workflow_scripts.errors import UserError
from workflow_scripts.report.figures_modes import fastest_reader, reader_text
from workflow_scripts.report.figures_reading import curves, panels_of, wanted
from workflow_scripts.report.figures_strategies import limit_of, predicted
from workflow_scripts.report.figures_sweeps import SETTINGS, sweeps
from workflow_scripts.report.plan_data import PlanData, read_plan
from workflow_scripts.report.strategy_looks import strategies_in_order, strategy_look
from workflow_scripts.report.study_names import study_kinds
from workflow_scripts.report.study_time import step_times
from workflow_scripts.report.tables_scaling import published_rows, published_table, study_table
from workflow_scripts.study.points import read_study
from workflow_scripts.study.series import efficiency, per_node, series, shares


def study_of(tmp_path, rows, name="sample"):
    return read_study(write_study(tmp_path, name, rows))


def lines_of(study, mode="synthetic"):
    return {(line.variant.encoder, line.label): line for line in series(study, mode)}


def test_published_points_make_a_line_for_each_model_and_strategy(tmp_path):
    study = study_of(tmp_path, published_points())
    found = lines_of(study)
    measured = {key: [one.rate.median for one in line.points] for key, line in found.items()}
    assert {key: values for key, values in measured.items() if values} == {
        key: list(map(float, rates)) for key, rates in PUBLISHED.items()
    }
    assert per_node(study)
    assert [one.nodes for one in found["base", "ddp"].points] == list(NODES)
    # 11,336 images/s on 128 nodes, 1,205 on one.
    share = efficiency(found["base", "full_shard"])[-1][1]
    assert share == pytest.approx(11336 / (128 * 1205))
    assert [one.status for one in found["5b", "no_shard"].failed] == ["out_of_memory"] * 2
    assert efficiency(found["5b", "no_shard"]) == []


def test_one_rank_begins_the_line_of_every_strategy_that_was_measured(tmp_path):
    rows = [point(100.0), point(190.0, strategy="ddp", local=2),
            point(160.0, strategy="full_shard", local=2, ahead=0),
            point(None, strategy="shard_grad_op", local=2, status="failed")]  # fmt: skip
    found = series(study_of(tmp_path, rows), "synthetic")
    told = {line.strategy: [one.ranks for one in line.points] for line in found}
    assert told == {"ddp": [1, 2], "full_shard": [1, 2], "shard_grad_op": []}
    shares = {line.strategy: efficiency(line)[-1][1:] for line in found if line.points}
    assert shares["ddp"] == pytest.approx((0.95, 0.95 * 0.98, 0.95 * 1.02))
    assert shares["full_shard"][0] == pytest.approx(0.8)


def test_points_of_different_devices_are_never_on_one_line(tmp_path):
    rows = [point(100.0), point(150.0, strategy="ddp", local=2),
            point(900.0, strategy="ddp", local=2, device="H100"),
            point(1700.0, strategy="ddp", local=4, device="H100")]  # fmt: skip
    found = series(study_of(tmp_path, rows), "synthetic")
    told = {(line.device, line.detail): [one.ranks for one in line.points] for line in found}
    assert told == {("cpu", "cpu"): [1, 2], ("H100", "H100"): [2, 4]}
    for line in found:
        assert {one.device for one in line.points} == {line.device}
    (fast,) = (line for line in found if line.device == "H100")
    assert efficiency(fast)[-1][1] == pytest.approx(1700 / 1800)


def test_efficiency_is_that_of_a_rank_over_the_fewest_of_the_same(tmp_path):
    rows = [point(100.0), point(150.0, strategy="ddp", local=2),
            point(190.0, strategy="ddp", local=2, mode="no_communication"),
            point(90.0, strategy="ddp", local=2, batch=8)]  # fmt: skip
    names = [row["point"] for row in rows]
    expected = dict(zip(names[:3], (1.0, 0.75, 0.95), strict=True))
    assert shares(study_of(tmp_path, rows)) == pytest.approx(expected)
    # Where nodes differ, a line has one number of ranks a node: the last is alone.
    rows = [point(140.0, strategy="ddp", local=2), point(250.0, strategy="ddp", nodes=2, local=2),
            point(400.0, strategy="ddp", nodes=2, local=4)]  # fmt: skip
    expected = {rows[0]["point"]: 1.0, rows[1]["point"]: 250 / 280}
    assert shares(study_of(tmp_path, rows)) == pytest.approx(expected)


def test_a_single_point_and_a_single_rank_are_lines_of_one(tmp_path):
    (line,) = series(study_of(tmp_path, [point(7.0)]), "synthetic")
    assert (line.strategy, len(line.points)) == ("no_shard", 1)
    assert efficiency(line)[0][1:] == pytest.approx((1, 0.98, 1.02))
    rows = [point(7.0, mode="real", workers=w, prefetch=w or None) for w in (0, 2)]
    assert [line.detail for line in series(study_of(tmp_path, rows), "real")] == [
        "0 workers", "2 workers"
    ]  # fmt: skip


def test_a_step_is_cut_into_parts_that_add_up(tmp_path):
    rows = [
        point(32 / 0.10, mode="no_communication", strategy="ddp", local=2),
        point(32 / 0.13, mode="synthetic", strategy="ddp", local=2),
        point(32 / 0.20, mode="real", strategy="ddp", local=2, workers=0),
        point(32 / 0.14, mode="io", local=2, workers=0),
    ]
    (row,) = step_times(study_of(tmp_path, rows))
    assert row.step_s == pytest.approx(0.20)
    assert row.compute_s == pytest.approx(0.10)
    assert row.communication_s == pytest.approx(0.03)
    assert row.waiting_s == pytest.approx(0.07)
    assert row.reading_s == pytest.approx(0.14)
    assert row.hidden == pytest.approx(0.5)
    assert row.data_wait == 0.1


def test_differences_below_zero_are_noise_and_parts_still_add_up(tmp_path):
    rows = [
        point(32 / 0.22, mode="no_communication", strategy="ddp", local=2),
        point(32 / 0.21, mode="synthetic", strategy="ddp", local=2),
        point(32 / 0.20, mode="real", strategy="ddp", local=2, workers=0),
    ]
    (row,) = step_times(study_of(tmp_path, rows))
    assert (row.communication_s, row.waiting_s, row.hidden) == (0, 0, None)
    assert row.compute_s == row.step_s


def test_what_was_not_measured_is_not_told_apart(tmp_path):
    real = point(32 / 0.20, mode="real", strategy="ddp", local=2, workers=0)
    (row,) = step_times(study_of(tmp_path, [real]))
    parts = (row.compute_s, row.trained_s, row.communication_s, row.waiting_s)
    assert parts == (None,) * 4
    memory = point(32 / 0.15, strategy="ddp", local=2)
    (row,) = step_times(study_of(tmp_path, [real, memory]))
    assert (row.compute_s, row.trained_s) == (None, pytest.approx(0.15))
    other = point(32 / 0.15, strategy="ddp", local=2, device="H100")
    assert [r.trained_s for r in step_times(study_of(tmp_path, [real, other]))] == [
        None, pytest.approx(0.15)
    ]  # fmt: skip
    (alone,) = step_times(study_of(tmp_path, [point(16 / 0.1)]))
    assert (alone.compute_s, alone.communication_s) == (pytest.approx(0.1), 0)  # nothing is sent


def test_readers_are_compared_and_the_fastest_is_named(tmp_path):
    rows = [point(50.0 + 10 * w, mode="real", workers=w, prefetch=2 if w else None)
            for w in (0, 1, 2)]  # fmt: skip
    rows += [point(400.0 + w, mode="io", workers=w, prefetch=f)
             for w, f in ((0, None), (1, 2), (2, 2), (2, 4))]  # fmt: skip
    study = study_of(tmp_path, [*rows, point(80.0)])
    assert fastest_reader(study) == (2, 2)
    assert reader_text(study) == "2 workers, prefetch 2"
    ((panel, points),) = panels_of(study).items()
    told = {ahead: [one.workers for one in line] for (ahead, _), line in curves(points).items()}
    assert told == {2: [0, 1, 2], 4: [0, 2]}
    assert wanted(study, panel) == {("tiny", "cpu"): 80.0}


def test_sweeps_hold_everything_else_equal(tmp_path):
    rows = [point(100.0 / p, patch=p, strategy=s, local=2, ahead=0 if s == "full_shard" else None)
            for p in (8, 4) for s in ("ddp", "full_shard")]  # fmt: skip
    rows.append(point(None, patch=2, strategy="ddp", local=2, status="out_of_memory"))
    found = sweeps(study_of(tmp_path, rows), SETTINGS["sequence"])
    told = {line.strategy: [one.tokens for one in line.points] for line in found}
    assert told == {"ddp": [64, 256], "full_shard": [64, 256]}
    assert [one.tokens for one in found[0].failed] == [1024]
    assert len({line.panel for line in found}) == 1
    assert sweeps(study_of(tmp_path, rows), SETTINGS["batch"]) == []


def test_strategies_have_looks_of_their_own():
    names = ["ddp", "no_shard", "shard_grad_op", "full_shard"]
    names += [f"hybrid_shard_{k}" for k in range(1, 21)]
    assert len({strategy_look(name) for name in names}) == len(names)
    assert strategies_in_order(["full_shard", "hybrid_shard_8", None, "hybrid_shard_2", "ddp"]) == [
        "ddp", "hybrid_shard_2", "hybrid_shard_8", "full_shard"
    ]  # fmt: skip


def shape(**more):
    return {"name": "s", "modes": ["synthetic"], "ranks": [1], "strategies": [], "readers": [],
            "patches": [], "batches": [16], "ahead": [], **more}  # fmt: skip


def test_a_study_has_only_figures_that_its_points_fill():
    assert study_kinds(shape()) == ["memory"]
    assert study_kinds(shape(modes=["io"], ranks=[1, 2])) == []
    assert study_kinds(shape(ranks=[1, 2], strategies=["ddp", "full_shard"])) == [
        "scaling", "strategies", "memory"
    ]  # fmt: skip
    full = shape(
        modes=["real", "synthetic", "no_communication", "io"], ranks=[1, 2],
        strategies=["ddp", "full_shard"], readers=[[0, None], [2, 2]], patches=[8, 4],
        batches=[16, 32], ahead=[0, 1],
    )  # fmt: skip
    assert study_kinds(full) == ["scaling", "strategies", "memory", "modes", "time", "reading",
                                 "sequence", "batch", "ahead"]  # fmt: skip


def test_the_table_tells_every_point_and_how_it_ended(tmp_path):
    study = study_of(tmp_path, published_points())
    table = study_table(study)
    assert len(table.rows) == len(study.points)
    row = dict(zip(table.names, table.rows[-1], strict=True))
    assert (row["status"], row["images/s"], row["error"]) == ("time limit", None, "rank 0: timeout")
    first = dict(zip(table.names, table.rows[1], strict=True))
    assert first["efficiency"] == pytest.approx(100 * 1686 / (2 * 853))


def test_published_points_stand_beside_those_of_encoders_of_their_size(tmp_path):
    study = study_of(tmp_path, published_points())
    table = published_table(study, published_rows())
    assert len(table.rows) == sum(map(len, PUBLISHED.values()))
    assert set(table.column("ours over published")) == {100.0}
    other = study_of(tmp_path, [point(5.0, strategy="ddp", local=8)], name="other")
    assert published_table(other, published_rows()).rows == ()


def test_the_planner_s_word_and_the_device_s_memory_come_from_a_plan_of_the_study(tmp_path):
    study = study_of(tmp_path, [point(5.0)])
    name = study.points[0].point
    rows = [{"point": name, "predicted_memory_bytes": 3e9}]
    made = {"machine": {"memory_bytes": 4e9}, "options": [], "measured": rows}
    plan = PlanData(name="p", label="p", study="sample", result=made)
    other = PlanData(name="q", label="q", study="another", result=made)
    assert (limit_of(study, [plan]), predicted(study, [plan])) == (4e9, {name: 3e9})
    assert (limit_of(study, [other]), predicted(study, [other])) == (None, {})


def test_a_result_that_is_no_study_is_refused(tmp_path):
    path = write_study(tmp_path, "sample", [point(5.0)])
    found = json.loads(path.read_text())
    for broken, told in (
        ({**found["points"][0], "images_per_s": None}, "is done and has no images_per_s"),
        ({**found["points"][0], "status": "lost"}, "has the status 'lost', expected done"),
        ({**found["points"][0], "images_per_s": {"median": 1}}, "expected median, least and most"),
        ({**found["points"][0], "encoder": None, "mode": None}, "a point without encoder, mode"),
        ({"point": "x"}, r"a point is \{'point': 'x'\}"),
    ):
        path.write_text(json.dumps({**found, "points": [broken]}))
        with pytest.raises(UserError, match=told):
            read_study(path)
    path.write_text(json.dumps({**found, "label": None}))
    with pytest.raises(UserError, match="its label is None"):
        read_study(path)
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "p.json").write_text("{}")
    with pytest.raises(UserError, match=r"p\.json: 'machine' is missing"):
        read_plan({"name": "p", "label": "p", "study": None}, tmp_path)


def test_small_studies_of_the_tests_have_points_of_one_name_each():
    for rows in (small_points(), published_points()):
        assert len({row["point"] for row in rows}) == len(rows)
