"""The page's section on energy: of each run, accuracy against it, and power over time."""

from collections.abc import Callable
from typing import Any

from workflow_scripts.energy.climate import NOT_MEASURED, grid_words
from workflow_scripts.report.chosen_probes import judged_runs
from workflow_scripts.report.collect import Collected, RunData
from workflow_scripts.report.energy_data import is_sampled
from workflow_scripts.report.figures_power import ACCURACY, accuracy_table
from workflow_scripts.report.run_tables import co2_table
from workflow_scripts.report.table_forms import view

Json = dict[str, Any]

_OPEN = 3  # more pictures than that are folded
_POWER = (
    "Power of all nodes together, as far as their counters see: on an HPE Cray whole nodes, "
    "elsewhere processors, their memory and GPUs. Switches, storage and cooling are not in it.",
    "Utilisation is the share of time in which a GPU ran a kernel or, of a run on processors, in "
    "which its processes ran on their cores: neither tells how well.",
)
_NO_ENERGY = (
    "No counter of energy could be read where these runs were trained: there is nothing to draw, "
    "and no CO2."
)
_ACCURACY = (
    "Mean ± standard deviation over splits and seeds, over the energy of the encoder's own "
    "pretraining; that of a start or teacher is not in it."
)


def parts(collected: Collected, picture: Callable[[str], Any]) -> list[Json]:
    """The parts of the section; none where no run was trained.

    Args:
        collected: Everything that was read.
        picture: Makes what the page shows of a figure, by its name.
    """
    if not collected.runs:
        return []
    energy = collected.recipe["energy"]
    judged = judged_runs(collected)
    if not judged:
        return [_co2(collected), _power(collected.runs, picture)]
    table = accuracy_table(judged, {run.name: run for run in collected.runs}, energy)
    known = any(value is not None for value in table.column("energy"))
    accuracy = {
        "anchor": "energy-accuracy",
        "title": "Accuracy against energy",
        "synthetic": table.synthetic,
        "text": [f"CO2 is energy at {grid_words(energy)}." if known else _NO_ENERGY],
        "facts": [],
        "pictures": [
            {"title": "", "uri": picture(ACCURACY), "alt": table.title, "reading": _ACCURACY}
        ]
        if known
        else [],
        "tables": [{**view(table), "title": ""}],
    }
    return [_co2(collected), accuracy, _power(collected.runs, picture)]


def _co2(collected: Collected) -> Json:
    """Energy and CO2 of all runs, beside published ones."""
    found = view(co2_table(collected))
    part = {"anchor": "co2", "title": found["title"], "synthetic": found["synthetic"]}
    return {**part, "text": [], "facts": [], "pictures": [], "tables": [{**found, "title": ""}]}


def _power(runs: list[RunData], picture: Callable[[str], Any]) -> Json:
    """Each run's power over time, or that nothing of it is measured."""
    return {
        "anchor": "energy-power",
        "title": "Power and utilisation over time",
        "synthetic": any(run.synthetic for run in runs),
        "text": list(_POWER),
        "facts": [],
        "pictures": [
            {"title": run.label, "uri": picture(f"power_{run.name}"), "reading": "",
             "alt": f"Power, utilisation and memory of {run.label} over time"
             + ("" if is_sampled(run) else f", {NOT_MEASURED}")
             + (" (synthetic)" if run.synthetic else "")}
            for run in runs
        ],
        "folded": "Each run" if len(runs) > _OPEN else "",
        "tables": [],
    }  # fmt: skip
