"""The report's energy: facts of runs, power over time, accuracy against energy."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from report_tree import make_tree

from workflow_scripts.report import page_energy
from workflow_scripts.report.chosen_probes import judged_runs
from workflow_scripts.report.collect import RunData, collect
from workflow_scripts.report.energy_data import energy_facts, thinned
from workflow_scripts.report.figure_names import figures
from workflow_scripts.report.figures_power import accuracy_energy_figure, power_figure


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """A tree in which one run's energy was measured, read."""
    root = tmp_path_factory.mktemp("energy")
    recipe = make_tree(root)
    results, data = root / "results", root / "data"
    return collect(recipe, results=results, data=data, records=root / "none"), root / "figures"


def of(collected, name) -> RunData:
    return next(run for run in collected.runs if run.name == name)


def test_facts_of_a_measured_run_and_of_one_without_counters(collected):
    told, _ = collected
    energy = told.recipe["energy"]
    assert dict(energy_facts(of(told, "scenes-mae"), energy)) == {
        "speed of a device": "76.6 TFLOP/s",
        "model FLOPs utilisation": "40.0%",
        "energy": "0.05 kWh, node",
        "mean power": "1,500 W",
        # 0.05 kWh × 1.1 × 473 g
        "CO2": "0.026 kg CO2e, at 473 g CO2e a kWh (Ember 2025), PUE 1.1",
    }
    assert set(dict(energy_facts(of(told, "scenes-gfm"), energy)).values()) == {"not measured"}


def test_the_section_shows_what_was_measured_and_says_what_was_not(collected):
    told, _ = collected
    co2, accuracy, power = page_energy.parts(told, lambda name: name)
    assert (co2["anchor"], co2["title"]) == ("co2", "Energy and CO2 of pretraining")
    missing = {one["title"]: "not measured" in one["alt"] for one in power["pictures"]}
    assert missing == {run.label: run.name != "scenes-mae" for run in told.runs}
    heads = [text for text, _ in accuracy["tables"][0]["heads"]]
    column = heads.index("energy (kWh)")
    cells = {row[0]: row[column] for row in accuracy["tables"][0]["rows"]}
    assert cells["scenes-mae"] == "0.05"
    assert {cell for name, cell in cells.items() if name != "scenes-mae"} <= {"not measured"}
    assert accuracy["pictures"][0]["uri"] == "energy_accuracy"
    assert accuracy["text"]
    assert power["text"]


def test_without_a_counter_the_section_says_so_and_has_no_empty_picture(collected):
    told, _ = collected
    blind = replace(told, runs=[replace(run, facts={}) for run in told.runs])
    accuracy = page_energy.parts(blind, lambda name: name)[1]
    assert accuracy["pictures"] == []
    assert accuracy["text"][0].startswith("No counter of energy could be read")
    assert {row[-1] for row in accuracy["tables"][0]["rows"]} == {"not measured"}


def test_figures_of_energy_are_those_that_are_named_and_draw_what_is_missing_as_words(collected):
    told, folder = collected
    runs = {run.name: run for run in told.runs}
    for run in told.runs:
        power_figure(run, folder)
    accuracy_energy_figure(judged_runs(told), runs, told.recipe["energy"], folder)
    names = figures(told.recipe)["Energy"]
    assert {"power_scenes-mae", "power_scenes-gfm", "energy_accuracy"} <= set(names)
    for name in names:
        assert (folder / f"{name}.svg").is_file()
    assert "not measured" not in (folder / "power_scenes-mae.svg").read_text()
    assert (folder / "power_scenes-gfm.svg").read_text().count("not measured") == 1
    rows = list(csv.DictReader(io.StringIO((folder / "power_scenes-mae.csv").read_text())))
    assert len(rows) == 24
    assert float(rows[0]["power (W)"]) == pytest.approx(1500 + 50 * np.sin(1))


def test_a_long_run_is_thinned_to_means_and_gaps_stay_gaps():
    rows = [
        {"seconds": float(n), "watts": None if n >= 6 else float(n), "utilisation": None,
         "memory_bytes": 5}
        for n in range(8)
    ]  # fmt: skip
    found = thinned(rows, most=4)
    assert found["seconds"].tolist() == [0.5, 2.5, 4.5, 6.5]
    assert found["watts"][:3].tolist() == [0.5, 2.5, 4.5]
    assert np.isnan(found["watts"][3])
    assert np.isnan(found["utilisation"]).all()
    assert thinned([])["watts"].shape == (0,)
    assert len(thinned(rows * 100)["seconds"]) <= 400
