"""Plans end to end: from a recipe or a command line to layouts, a fit, a picture and errors."""

import json
import re
import statistics

import pytest
import yaml

from workflow_scripts import recipes
from workflow_scripts.config_check import load_config
from workflow_scripts.digests import digest
from workflow_scripts.errors import UserError
from workflow_scripts.forecast import __main__ as stage
from workflow_scripts.forecast.build import forecast
from workflow_scripts.forecast.planned import machine_of, numbers_of
from workflow_scripts.forecast.segments import minutes_for
from workflow_scripts.forecast.show import lines
from workflow_scripts.plan import __main__ as command
from workflow_scripts.plan.cost import BUILT_IN, Layout, timed_step
from workflow_scripts.plan.workload import workload_of
from workflow_scripts.report.figures_plans import plan_table
from workflow_scripts.report.table_forms import view
from workflow_scripts.studies import points

CONFIG = load_config()
HERE = machine_of(numbers_of("here", recipes.forecast(CONFIG, "sample-here")["numbers"]))


# As wide as vit_1b, but of few blocks: tracing a step takes time for each.
SHALLOW = {"family": "vit", "image_size": 224, "patch": 14, "width": 1536, "heads": [16],
           "mlp_ratio": 4.0, "depths": [4], "window": None}  # fmt: skip


def of_frontier(**changes):
    recipe = recipes.forecast(CONFIG, "vit-1b-frontier")
    decoder = {"width": 512, "depth": 2, "heads": 16}
    pretrain = {**recipe["pretrain"], "encoder": SHALLOW, "decoder": decoder}
    return {**recipe, "pretrain": pretrain, **changes}


@pytest.fixture(scope="module")
def plan():
    recipe = of_frontier()
    return {"recipe": recipe, **forecast(recipe, index=None, study=None)}


def test_each_strategy_on_each_number_of_nodes_that_can_have_it(plan):
    found = {(one["strategy"], one["nodes"]) for one in plan["options"]}
    assert len(found) == len(plan["options"]) == 6 + 7 * 8 - 1
    assert ("hybrid_shard_16", 2) not in found
    assert ("hybrid_shard_16", 4) in found


def test_numbers_of_a_layout_follow_from_its_step(plan):
    recipe = plan["recipe"]
    for one in plan["options"]:
        assert one["ranks"] == 8 * one["nodes"]
        assert one["batch"] == 32 * one["ranks"]
        assert one["step_s"] == pytest.approx(one["compute_s"] + one["communication_s"], rel=1e-4)
        assert one["images_per_s"] == pytest.approx(one["batch"] / one["step_s"], rel=1e-4)
        steps = 1_000_000 // one["batch"]
        assert one["epoch_s"] == pytest.approx(steps * one["step_s"], rel=1e-4)
        assert one["node_hours"] == pytest.approx(one["nodes"] * one["total_s"] / 3600, rel=1e-4)
        assert one["total_s"] > recipe["epochs"] * one["epoch_s"] + 180 * one["segments"]
        limit = 120 if one["nodes"] <= 91 else 360
        assert one["walltime_minutes"] <= limit
        assert one["segments"] == 1 or one["walltime_minutes"] == limit


def test_energy_is_full_power_while_it_computes_and_idle_power_else(plan):
    recipe, numbers = plan["recipe"], plan["machine"]
    for one in plan["options"]:
        busy = recipe["epochs"] * (1_000_000 // one["batch"]) * one["compute_s"]
        joules = busy * numbers["node_watts"] + (one["total_s"] - busy) * numbers["idle_watts"]
        assert one["kwh"] == pytest.approx(one["nodes"] * joules / 3.6e6, rel=1e-4)
        assert one["kg_co2"] == pytest.approx(one["kwh"] * 0.473, rel=1e-4)


def test_co2_counts_the_grid_and_the_centre():
    energy = {"grid_g_co2_per_kwh": 100.0, "grid_source": "a test", "pue": 1.5}
    [one] = forecast(of_frontier(nodes=[1], strategies=["no_shard"], energy=energy), index=None,
                     study=None)["options"]  # fmt: skip
    assert one["kg_co2"] == pytest.approx(one["kwh"] * 0.15, rel=1e-4)


def test_efficiency_is_that_of_a_node_over_the_best_single_one(plan):
    alone = [one for one in plan["options"] if one["nodes"] == 1 and one["fits"]]
    best = max(one["images_per_s"] for one in alone)
    for one in plan["options"]:
        assert one["efficiency"] == pytest.approx(
            one["images_per_s"] / one["nodes"] / best, rel=1e-4
        )
    few = forecast(of_frontier(nodes=[64, 32]), index=None, study=None)
    assert few["reference"]["nodes"] == 1
    assert few["reference"]["images_per_s"] == pytest.approx(best, rel=1e-4)
    assert [one["nodes"] for one in few["options"]][:8] == [32] * 8


def test_what_is_recommended_is_one_of_the_layouts_and_says_why(plan):
    best = {key: value for key, value in plan["recommended"].items() if key != "why"}
    assert best in plan["options"]
    assert plan["recommended"]["why"].startswith(f"Take {best['strategy']} on {best['nodes']} node")
    text = "\n".join(lines(plan))
    assert f"→ {best['nodes']}  {best['strategy']}" in text
    assert plan["recommended"]["why"] in text


def test_a_deadline_buys_nodes_with_node_hours(plan):
    days = plan["recommended"]["total_s"] / 86400 / 2
    recipe = of_frontier(deadline_days=days, largest_batch=None)
    hurried = forecast(recipe, index=None, study=None)["recommended"]
    assert hurried["nodes"] > plan["recommended"]["nodes"]
    assert hurried["total_s"] <= days * 86400
    both = forecast(of_frontier(deadline_days=days), index=None, study=None)["recommended"]
    assert both["strategy"] is None  # more nodes need a larger batch than it may have
    poor = forecast(of_frontier(budget_node_hours=0.1), index=None, study=None)["recommended"]
    assert poor["strategy"] is None
    assert "budget of 0.1" in poor["why"]


def test_where_nothing_fits_a_remedy_is_named_that_does():
    numbers = numbers_of("frontier", None)
    small = {key: numbers[key] for key in numbers if key != "label"} | {"memory_gb": 2.0}
    recipe = of_frontier(machine="small", numbers={**small, "label": ""}, nodes=[1], batch=64)
    found = forecast(recipe, index=None, study=None)
    assert not any(one["fits"] for one in found["options"])
    why = found["recommended"]["why"]
    assert found["recommended"]["strategy"] is None
    assert "This would fit" in why
    again = forecast({**recipe, "activation_checkpointing": True, "batch": 1}, index=None,
                     study=None)  # fmt: skip
    assert any(one["fits"] for one in again["options"])


def test_images_fewer_than_a_step_takes_are_told():
    found = forecast(of_frontier(images=300, nodes=[1, 2]), index=None, study=None)
    assert {one["refused"] for one in found["options"] if one["nodes"] == 2 and one["fits"]} == {
        "one step takes 512 images, and there are 300"
    }
    assert found["recommended"]["nodes"] == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"images": -5}, "images is -5"),
        ({"batch": 0}, "batch is 0"),
        ({"nodes": [0, 1]}, r"nodes is \[0, 1\]"),
        ({"deadline_days": -1}, "deadline_days is -1"),
        ({"machine": "fronteer"}, "did you mean 'frontier'"),
        ({"images": None}, "--index"),
        ({"study": "mine"}, "--study"),
        ({"strategies": ["hybrid_shard_3"], "nodes": [1]}, "has to divide"),
    ],
)
def test_bad_input_is_told_by_its_key(changes, told):
    with pytest.raises(UserError, match=told):
        forecast(of_frontier(**changes), index=None, study=None)


def test_constants_that_the_planner_has_not_are_told():
    numbers = {**numbers_of("frontier", None), "constants": {"no_such_thing": 1.0}}
    with pytest.raises(UserError, match="no constant 'no_such_thing'"):
        forecast(of_frontier(machine="mine", numbers=numbers), index=None, study=None)


def test_the_stage_writes_the_same_bytes_and_shows_them(tmp_path, monkeypatch, capsys):
    index = tmp_path / "index.json"
    index.write_text('{"count": 5000}')
    recipe = of_frontier(images=None, nodes=[1, 2], strategies=["no_shard", "full_shard"])
    files = [tmp_path / "one" / "p.json", tmp_path / "two" / "p.json"]
    for file in files:
        arguments = stage.parser().parse_args(
            ["--recipe", json.dumps(recipe), "--index", str(index), "--output", str(file)]
        )
        stage.work(arguments, recipe)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert json.loads(files[0].read_text())["images"] == 5000
    stage.show(stage.show_parser().parse_args(["--show", *map(str, files)]))
    out = capsys.readouterr().out
    assert out.count("Take ") == 2
    assert out.count("full_shard") >= 4
    with pytest.raises(UserError, match="no plan"):
        stage.show(stage.show_parser().parse_args(["--show", str(index)]))


def test_a_damaged_plan_is_told_and_not_shown(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('{"stage": "forecast", "machine": 5}')
    with pytest.raises(UserError, match=r"p\.json: damaged"):
        stage.show(stage.show_parser().parse_args(["--show", str(path)]))


def asked(*options):
    """What `python -m workflow_scripts.plan` does with these options."""
    arguments = command.parser().parse_args([str(option) for option in options])
    arguments.plan(arguments)


def test_the_shell_plans_an_encoder_and_draws_it(tmp_path, capsys):
    picture = tmp_path / "mine.svg"
    asked("run", "--encoder", "vit_base", "--images", "1e6", "--nodes", "1,2", "--machine",
          "dgx-h100", "--json", "--figure", picture)  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["label"] == "NVIDIA DGX H100"
    assert found["epochs"] == 100
    best = found["recommended"]
    text = picture.read_text()
    assert f"{best['strategy']}, {best['nodes']} node" in text
    assert "<svg" in text
    rows = (tmp_path / "mine.csv").read_text().splitlines()
    assert len(rows) == 1 + len(found["options"])


MACHINE = {"devices_per_node": 4, "memory_gb": 24, "peak_tflops": 100, "memory_gb_s": 900,
           "node_gb_s": 30, "network_gb_s": 12}  # fmt: skip


def test_a_machine_is_json_numbers_or_another_with_changes(capsys):
    numbers = [part for key, value in MACHINE.items()
               for part in (f"--{key.replace('_', '-')}", value)]  # fmt: skip
    encoder = '{"family": "vit", "image_size": 64, "patch": 8, "width": 96, "depth": 2, "heads": 3}'
    common = ("run", "--encoder", encoder, "--images", 10**6, "--nodes", 1, "--json")
    asked(*common, "--machine", json.dumps(MACHINE))
    first = json.loads(capsys.readouterr().out)
    asked(*common, *numbers)
    assert json.loads(capsys.readouterr().out)["options"] == first["options"]
    assert first["options"][0]["kwh"] is None
    assert first["options"][0]["ranks"] == 4
    asked(*common, "--machine", "frontier", "--node-watts", 1000, "--idle-watts", 1000)
    [one, *_] = json.loads(capsys.readouterr().out)["options"]
    assert one["kwh"] == pytest.approx(one["node_hours"], rel=1e-4)  # of one node, at 1 kW


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--encoder", "vit_bse", "--images", "1e6"], "did you mean 'vit_base'"),
        (["--encoder", "vit_base"], "needs images"),
        (["--run", "scenes-mae", "--encoder", "vit_base"], "either --run or --encoder"),
        (["--run", "no-such-run"], "no-such-run"),
        (["--encoder", "vit_base", "--images", "1e6", "--machine", "frontir"], "frontier"),
        (["--encoder", "vit_base", "--images", "1e6", "--epochs", "0"], "greater than 0"),
        (["--encoder", "vit_base", "--images", "1e300"], "less than or equal to 10"),
        (["--encoder", "vit_base", "--images", "1e6", "--nodes", "0,1"], "greater than 0"),
        (["--encoder", "vit_base", "--images", "1e6", "--machine", "{"], "not valid JSON"),
        (["--encoder", "vit_base", "--images", "1e6", "--peak-tflops", "9"], "missing"),
        (["--encoder", "vit_base", "--images", "1e6", "--strategies", "zero"], "hybrid_shard_<k>"),
        (["--encoder", "vit_base", "--images", "1e6", "--figure", "x.png"], ".svg"),
    ],
)
def test_what_the_shell_cannot_plan_it_says(options, told):
    with pytest.raises(UserError, match=told):
        asked("run", *options)


@pytest.mark.parametrize("images", ["inf", "nan", "1.5", "many"])
def test_what_is_no_whole_number_is_told(images, capsys):
    with pytest.raises(SystemExit):
        asked("run", "--encoder", "vit_base", "--images", images)
    assert f"expected a whole number, such as 1000000 or 1e6; got '{images}'" in (
        capsys.readouterr().err
    )


def test_a_training_of_longer_than_floats_tell_has_a_time_limit():
    assert minutes_for(6e25) == pytest.approx(1e24)


# --- a study of one's own ----------------------------------------------------------------------

# What the machine of the made-up study is like: half as fast as the planner would have it.
SLOWER = 0.5


def write_study(folder, *, device="cpu", status="done", speed=None):
    """A study as its stages write it; points are slower than the planner says, or as told."""
    rows, inputs = [], {}
    for one in points(CONFIG, "sample"):
        recipe = recipes.point(CONFIG, "sample", one.name)
        recipe["pretrain"]["decoder"] = {"width": 64, "depth": 1, "heads": 2}
        recipe["pretrain"]["encoder"]["depths"] = [2]
        row = {
            "study": "sample", "point": one.name, "encoder": one.encoder, "patch": one.patch,
            "mode": one.mode, "strategy": one.strategy, "nodes": 1, "ranks": one.ranks,
            "ranks_per_node": one.ranks_per_node, "batch": one.batch, "precision": "fp32",
            "status": status, "device": device if status == "done" else None,
            "images_per_s": None, "peak_memory_bytes": None,
        }  # fmt: skip
        if one.strategy and status == "done":
            row["images_per_s"] = {"median": speed or SLOWER * _seen(recipe, one)}
            row["peak_memory_bytes"] = 10**9
        rows.append(row)
        file = folder / "sample" / f"{one.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        point = {"stage": "scaling", "recipe": recipe, **row}
        file.write_text(json.dumps(point))
        inputs[f"point:{one.name}"] = digest(point)
    path = folder / "sample.json"
    study = {"stage": "study", "study": "sample", "points": rows, "digests": {"inputs": inputs}}
    path.write_text(json.dumps(study))
    return path


def _seen(recipe, one):
    layout = Layout(strategy=one.strategy, nodes=1, devices=one.ranks_per_node, batch=one.batch,
                    recompute=False)  # fmt: skip
    workload = workload_of(recipe["pretrain"], recipe["channels"])
    seconds = timed_step(workload, layout, HERE, BUILT_IN).total_s
    return one.ranks * one.batch / seconds


def test_a_plan_of_a_measured_machine_is_fitted_to_its_study_and_held_against_it(tmp_path):
    study = write_study(tmp_path)
    recipe = {**recipes.forecast(CONFIG, "sample-here"), "images": 800}
    found = forecast(recipe, index=None, study=study)
    assert found["constants"]["source"] == "sample"
    rows = found["measured"]
    assert [row["mode"] for row in rows] == 3 * ["synthetic"]  # those that it was fitted to
    assert all(row["memory_bytes"] is None for row in rows)  # resident memory of a CPU's process
    off = [row["predicted_images_per_s"] / row["images_per_s"] - 1 for row in rows]
    assert statistics.median(map(abs, off)) < 0.1
    assert f"median error {statistics.median(map(abs, off)):.0%}" in "\n".join(
        lines({"recipe": recipe, **found})
    )
    plain = forecast({**recipe, "study": None}, index=None, study=None)
    assert plain["options"][0]["images_per_s"] > 1.5 * found["options"][0]["images_per_s"]


def test_refit_writes_a_machine_whose_constants_suit_the_study(tmp_path, capsys):
    study, file = write_study(tmp_path), tmp_path / "mine.yaml"
    asked("refit", "--study", study, "--output", file, "--name", "mine")
    out = capsys.readouterr().out
    assert int(re.search(r"images/s: 100% before, (\d+)% fitted", out)[1]) < 10
    assert "--machine mine" in out
    assert "at its limit" not in out
    asked("refit", "--study", write_study(tmp_path / "fast", speed=1e6),
          "--output", tmp_path / "fast.yaml")  # fmt: skip
    assert "matrix_share ended at its limit of 0.95: is a number of" in capsys.readouterr().out
    entry = yaml.safe_load(file.read_text())["machines"]["mine"]
    assert set(entry["constants"]) == set(vars(BUILT_IN))
    config = load_config(file)
    assert config.machines["mine"].study is None
    common = ("run", "--encoder", '{"family": "vit", "image_size": 64, "patch": 8, "width": 96, '
              '"depth": 4, "heads": 3}', "--images", 800, "--nodes", 1, "--batch", 16,
              "--precision", "fp32", "--strategies", "ddp", "--json")  # fmt: skip
    asked(*common, "--configfile", file, "--machine", "mine")
    fitted = json.loads(capsys.readouterr().out)
    assert fitted["constants"] == {**entry["constants"], "source": "configuration"}
    asked("refit", "--study", write_study(tmp_path / "h100", speed=1e4, device="NVIDIA H100"),
          "--output", tmp_path / "h100.yaml", "--machine", "dgx-h100")  # fmt: skip
    capsys.readouterr()
    [other] = yaml.safe_load((tmp_path / "h100.yaml").read_text())["machines"].values()
    assert other["peak_tflops"] == 66.9  # the study's arithmetic is float32
    numbers = {key: entry[key] for key in MACHINE}
    asked(*common, "--machine", json.dumps(numbers))
    plain = json.loads(capsys.readouterr().out)
    assert fitted["options"][0]["images_per_s"] < plain["options"][0]["images_per_s"]


def test_a_study_that_cannot_be_fitted_to_is_told(tmp_path):
    recipe = {**recipes.forecast(CONFIG, "sample-here"), "images": 800}

    def fitted(study, **changes):
        return forecast({**recipe, **changes}, index=None, study=study)

    with pytest.raises(UserError, match=r"no point that trains .* is done .out_of_memory"):
        fitted(write_study(tmp_path / "oom", status="out_of_memory"))
    with pytest.raises(UserError, match=r"measured on NVIDIA H100.*66.9.*0.1\."):
        fitted(write_study(tmp_path / "h100", speed=100.0, device="NVIDIA H100 80GB HBM3"))
    one = {**recipe["numbers"], "devices_per_node": 1}
    with pytest.raises(UserError, match="up to 2 ranks a node"):
        fitted(write_study(tmp_path / "wide", speed=100.0), numbers=one)
    with pytest.raises(UserError, match="no such file"):
        fitted(tmp_path / "missing.json")
    with pytest.raises(UserError, match="no study"):
        fitted(tmp_path / "wide" / "sample" / "tiny_1x1_b16_io_w0.json")
    whole = json.loads((tmp_path / "wide" / "sample.json").read_text())
    for damage in ({"points": []}, {"points": [1]}, {"points": [{}]}, {"digests": 3},
                   {"digests": {"inputs": {}}}):  # fmt: skip
        (tmp_path / "odd.json").write_text(json.dumps({**whole, **damage}))
        with pytest.raises(UserError, match=r"odd\.json: damaged"):
            fitted(tmp_path / "odd.json")
    other = tmp_path / "wide" / "sample" / "tiny_ddp_1x2_b16_real_w0.json"
    other.write_text(other.read_text().replace('"images_per_s": {', '"images_per_s": { "x": 1, '))
    with pytest.raises(UserError, match="not the point that"):
        fitted(tmp_path / "wide" / "sample.json")
    with pytest.raises(UserError, match="no machine of the configuration names study other"):
        asked("refit", "--study", tmp_path / "other.json")


def test_large_numbers_of_a_plan_are_whole_and_small_ones_keep_their_digits():
    found = forecast({**recipes.forecast(CONFIG, "vit-1b-frontier")}, index=None, study=None)
    for one in found["options"]:
        one |= {"node_hours": 12345.6, "kwh": 123456.7, "kg_co2": 0.01234, "epoch_s": 1.163}
    heads, rows = (view(plan_table(found))[key] for key in ("heads", "rows"))
    shown = dict(zip((head for head, _ in heads), rows[0], strict=True))
    assert shown["node-hours"] == "12,346"
    assert shown["energy (kWh)"] == "123,457"
    assert shown["CO2 (kg)"] == "0.01234"
    assert shown["epoch (s)"] == "1.163"
