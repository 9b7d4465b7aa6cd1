"""Every figure of studies, plans and all runs together: those that `study_names` names."""

from pathlib import Path

from workflow_scripts.report.chosen_probes import whole_probes
from workflow_scripts.report.collect import Collected
from workflow_scripts.report.figures_losses import losses_figure
from workflow_scripts.report.figures_modes import modes_figure
from workflow_scripts.report.figures_parameters import parameters_figure
from workflow_scripts.report.figures_planned import planned_figure
from workflow_scripts.report.figures_plans import plan_figure
from workflow_scripts.report.figures_reading import reading_figure
from workflow_scripts.report.figures_scaling import scaling_figure
from workflow_scripts.report.figures_strategies import memory_figure, strategies_figure
from workflow_scripts.report.figures_sweeps import SETTINGS, sweep_figure
from workflow_scripts.report.figures_time import time_figure
from workflow_scripts.report.study_names import study_kinds, together_figures

_OF_STUDY = {
    "scaling": scaling_figure,
    "strategies": strategies_figure,
    "modes": modes_figure,
    "time": time_figure,
    "reading": reading_figure,
}


def draw_studies(collected: Collected, folder: Path) -> None:
    """Figures of each study."""
    entries = {entry["name"]: entry for entry in collected.recipe["studies"]}
    for study in collected.studies:
        for kind in study_kinds(entries[study.name]):
            if kind == "memory":
                memory_figure(study, collected.plans, folder)
            elif kind in SETTINGS:
                sweep_figure(study, kind, folder)
            else:
                _OF_STUDY[kind](study, folder)


def draw_plans(collected: Collected, folder: Path) -> None:
    """Figures of each plan."""
    for plan in collected.plans:
        plan_figure(plan.result, folder)
        if plan.study:
            planned_figure(plan, folder)


def draw_together(collected: Collected, folder: Path) -> None:
    """Figures over all runs."""
    names = together_figures(collected.recipe)
    if "losses" in names:
        losses_figure(collected.runs, folder)
    if "accuracy_parameters" in names:
        sizes = {run.name: int(run.summary["encoder_parameters"]) for run in collected.runs}
        parameters_figure(whole_probes(collected), sizes, folder)
