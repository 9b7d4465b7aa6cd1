"""Describe all results, how and from what they were made, as a Workflow Run RO-Crate."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.crate.build import build
from workflow_scripts.crate.done import jobs
from workflow_scripts.crate.names import without_places
from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive, write_json, write_text
from workflow_scripts.logs import log
from workflow_scripts.stage import run_stage, stage_parser

_ROOT = Path(__file__).parents[2]
# What an archived crate needs beside the results; the first two are what the profiles ask for.
COPIED = {"snakefile": "Snakefile", "citation": "CITATION.cff", "licence": "LICENSE"}


def parser() -> argparse.ArgumentParser:
    """The command line of the stage."""
    one = stage_parser("crate", __doc__ or "")
    one.add_argument("--results", type=Path, required=True, help="the folder of results")
    one.add_argument("--data", type=Path, required=True, help="the folder of data")
    one.add_argument("--crate", type=Path, required=True, help="its metadata, written here")
    one.add_argument(
        "--workflow", type=Path, required=True,
        help="folder below the results for the workflow's file, configuration, licence, citation",
    )  # fmt: skip
    one.add_argument(
        "--made", type=Path, nargs="*", default=[], help="the report's page, figures and tables"
    )
    return one


def write_workflow(recipe: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Write what is said about the workflow into the results, and return the files by role.

    Raises:
        UserError: The workflow lacks one of these files.
    """
    written = {}
    for role, name in COPIED.items():
        if not (_ROOT / name).is_file():
            raise UserError(f"{_ROOT / name}: no such file; put the repository's own there again")
        written[role] = folder / name
        write_text(written[role], (_ROOT / name).read_text(encoding="utf-8"))
    written["readme"] = folder.parent / "README.md"
    write_text(written["readme"], readme(recipe))
    written["config"] = folder / "config.yaml"
    config = without_places(yaml.safe_load(recipe["config_yaml"]))
    write_text(written["config"], yaml.safe_dump(config, sort_keys=True, allow_unicode=True))
    return written


def readme(recipe: dict[str, Any]) -> str:
    """What is said to who opens the folder of results."""
    synthetic = any(row["synthetic"] for row in recipe["datasets"])
    warning = "**Made with SYNTHETIC DATA: to try the pipeline, not to be used.**\n\n"
    return (
        f"# {without_places(recipe['title'])}\n\n{warning if synthetic else ''}"
        f"Results of the workflow Orbweaver for the configuration `{recipe['name']}`, digest "
        f"`{recipe['config_digest']}`.\n\n"
        "- `report.html`: the report, one page, and `report.json`, the same as data\n"
        "- `figures/`, `tables/`: each figure of the report as SVG with its data as CSV, each "
        "table as CSV, Markdown and LaTeX\n"
        "- `runs/<run>/README.md`: the model card of each pretrained encoder, beside its weights\n"
        "- `features/`, `probes/`: what was extracted from encoders, and how it was judged\n"
        "- `scaling/`, `plans/`: points of scaling studies, and what the planner foretells\n"
        "- `workflow/`: the workflow's file, the configuration, licence and citation of the code\n"
        "- `ro-crate-metadata.json`: all files with their checksums, and how and from what each "
        "was made (a Workflow Run RO-Crate)\n\n"
        "How to cite: the code by `workflow/CITATION.cff`, data and methods as the report and the "
        "model cards say.\n"
    )


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """The stage, one at a time for a crate.

    Raises:
        UserError: No job has left its provenance.
    """
    results, data = arguments.results, arguments.data
    with exclusive(arguments.crate):
        done = jobs(recipe, results=results, data=data)
        if not done:
            raise UserError(f"{results}: no result with its provenance beside it; make some first")
        written = write_workflow(recipe, arguments.workflow)
        crate = build(
            recipe, done, results=results, data=data, written=written, made=arguments.made
        )
        write_json(arguments.crate, crate)
    log.info("%s: %d entities, %d actions", arguments.crate, len(crate["@graph"]), len(done) + 1)


if __name__ == "__main__":
    run_stage(parser(), work)
