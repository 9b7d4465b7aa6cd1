"""Make the report from all results: one self-contained page, its figures, and both as data."""

import argparse
from pathlib import Path
from typing import Any

from workflow_scripts.files import exclusive, write_json, write_text
from workflow_scripts.logs import log
from workflow_scripts.made_files import noted
from workflow_scripts.report.chosen_probes import judged_runs, whole_probes
from workflow_scripts.report.collect import Collected, collect
from workflow_scripts.report.data_tables import data_tables
from workflow_scripts.report.draw_scaling import draw_plans, draw_studies, draw_together
from workflow_scripts.report.figure_data import Table
from workflow_scripts.report.figure_names import figures, runs_along
from workflow_scripts.report.figures_accuracy import accuracy_figure
from workflow_scripts.report.figures_along import along_figure
from workflow_scripts.report.figures_bands import bands_figure
from workflow_scripts.report.figures_chips import chips_figure
from workflow_scripts.report.figures_data import images_figure
from workflow_scripts.report.figures_days import dropped_figure
from workflow_scripts.report.figures_embedding import embedding_figure
from workflow_scripts.report.figures_map import map_figure
from workflow_scripts.report.figures_mistakes import mistakes_figure
from workflow_scripts.report.figures_power import accuracy_energy_figure, power_figure
from workflow_scripts.report.figures_probes import probe_figure
from workflow_scripts.report.figures_runs import reconstruction_figure, run_figure
from workflow_scripts.report.page import render
from workflow_scripts.report.page_scaling import scaling_tables
from workflow_scripts.report.photographs import photographs_as_jpeg
from workflow_scripts.report.probe_tables import probe_tables
from workflow_scripts.report.report_data import report_data
from workflow_scripts.report.run_tables import co2_table, job_tables, runs_table
from workflow_scripts.report.style import styled
from workflow_scripts.report.table_forms import write_table
from workflow_scripts.shards.layout import IMAGES
from workflow_scripts.stage import run_stage, stage_parser

FIGURE, TABLE = ("svg", "csv"), ("csv", "md", "tex")  # what each is written as


def draw(collected: Collected, folder: Path) -> None:
    """Write every figure of the page but the picture of the DAG, which has a rule of its own."""
    with styled():
        per_class = collected.recipe.get("samples_per_class", 4)
        for corpus in collected.corpora:
            if corpus.samples.kind == IMAGES:
                photographs_as_jpeg(images_figure(corpus, folder, per_class=per_class))
                continue
            chips_figure(corpus, folder)
            map_figure(corpus, folder)
            bands_figure(corpus, folder)
            if corpus.cut_from:
                dropped_figure(corpus, collected.days.totals, folder)
        units = {corpus.name: corpus.samples.shards[0].units for corpus in collected.corpora}
        for run in collected.runs:
            run_figure(run, folder)
            reconstruction_figure(run, folder, units=units.get(run.model["corpus"], ""))
            power_figure(run, folder)
        draw_probes(collected, folder)
        draw_together(collected, folder)
        draw_studies(collected, folder)
        draw_plans(collected, folder)
        if judged := judged_runs(collected):
            runs = {run.name: run for run in collected.runs}
            accuracy_energy_figure(judged, runs, collected.recipe["energy"], folder)


def draw_probes(collected: Collected, folder: Path) -> None:
    """Figures of probes, those that `figure_names` names."""
    entries = collected.recipe["probes"]
    whole = whole_probes(collected)
    for benchmark in dict.fromkeys(probe.benchmark for probe in collected.probes):
        accuracy_figure([probe for probe in whole if probe.benchmark == benchmark], folder)
    for probe in whole:
        probe_figure(probe, folder)
        if probe.pictures is not None:
            photographs_as_jpeg(mistakes_figure(probe, folder))
            embedding_figure(probe, folder)
    runs = {run.name: run for run in collected.runs}
    for name, benchmark in runs_along(entries):
        probes = [p for p in collected.probes if (p.run, p.benchmark) == (name, benchmark)]
        along_figure(
            name, runs[name].label, probes, last_step=runs[name].summary["steps"], folder=folder
        )


def all_tables(collected: Collected) -> list[Table]:
    """Every table of the page, those that `figure_names` names."""
    return [
        *job_tables(collected),
        *data_tables(collected),
        runs_table(collected),
        co2_table(collected),
        *probe_tables(collected),
        *scaling_tables(collected),
    ]


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """The stage, one at a time for a page."""
    with exclusive(arguments.html):
        collected = collect(
            recipe, results=arguments.results, data=arguments.data, records=arguments.records
        )
        drawn = [name for names in figures(recipe).values() for name in names]
        shown = all_tables(collected)
        # What the configuration has no more goes: who archives the folder would take it for a
        # part of this report.
        with (
            noted(arguments.figures, [f"{name}.{form}" for name in drawn for form in FIGURE]),
            noted(arguments.tables, [f"{one.name}.{form}" for one in shown for form in TABLE]),
        ):
            draw(collected, arguments.figures)
            for table in shown:
                write_table(table, arguments.tables)
            text = render(collected, arguments.figures)
            write_json(arguments.json, report_data(collected, arguments.results, shown))
            write_text(arguments.html, text)
        log.info("%s: %.1f MB", arguments.html, len(text.encode()) / 1e6)


if __name__ == "__main__":
    parser = stage_parser("report", __doc__)
    for name, text in (
        ("--results", "the folder of results"),
        ("--data", "the folder of data"),
        ("--html", "the page"),
        ("--json", "the same as data, for `python -m workflow_scripts.compare`"),
        ("--figures", "where the figures go; dag.svg there is shown"),
        ("--tables", "where the tables go, each as CSV, Markdown and LaTeX"),
        ("--records", "Snakemake's benchmark records"),
    ):
        parser.add_argument(name, type=Path, required=True, help=text)
    run_stage(parser, work)
