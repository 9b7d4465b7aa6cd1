"""Write a run's model card, README.md beside its weights, from what the other stages left."""

import argparse
from pathlib import Path
from typing import Any

from workflow_scripts.card.text import Sources, card_text
from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive, read_json, read_object, write_text
from workflow_scripts.logs import log
from workflow_scripts.probe.reading import read_result
from workflow_scripts.provenance import read_provenance
from workflow_scripts.results import provenance_path, stamp, write_result
from workflow_scripts.stage import run_stage, stage_parser


def parser() -> argparse.ArgumentParser:
    """The command line of the stage."""
    one = stage_parser("card", __doc__ or "")
    one.add_argument("--run", type=Path, required=True, help="the run's folder, exported")
    one.add_argument("--index", type=Path, required=True, help="index.json of its corpus")
    one.add_argument(
        "--probes", type=Path, nargs="*", default=[], help="results of its probes and fine-tunings"
    )
    one.add_argument("--card", type=Path, required=True, help="the card's JSON, written here")
    return one


def read_sources(recipe: dict[str, Any], *, run: Path, index: Path, probes: list[Path]) -> Sources:
    """All that a card is made of.

    Raises:
        UserError: A file is missing, or is of another run than the rest.
    """
    summary, model = (
        read_object(run / name, run_digest=str) for name in ("summary.json", "model.json")
    )
    if summary["run_digest"] != model["run_digest"]:
        raise UserError(
            f"{run}: summary.json is of run {summary['run_digest'][:16]}, model.json of "
            f"{model['run_digest'][:16]}; export the run again"
        )
    found = [read_result(path) for path in probes]
    weights = file_sha256(run / "weights.safetensors")
    for path, probe in zip(probes, found, strict=True):
        if probe["digests"]["inputs"]["weights"] != weights:
            raise UserError(f"{path}: judges other weights than those in {run}; probe them again")
    facts = read_provenance(provenance_path(run / "summary.json"), segments=list)
    return Sources(
        recipe=recipe, summary=summary, model=model, corpus=read_json(index),
        facts=facts, probes=found,
    )  # fmt: skip


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """The stage, one at a time for a run."""
    with exclusive(arguments.card):
        sources = read_sources(
            recipe, run=arguments.run, index=arguments.index, probes=arguments.probes
        )
        page = arguments.run / "README.md"
        write_text(page, card_text(sources))
        inputs = {
            "run": sources.summary["run_digest"],
            "corpus": sources.corpus["content"],
            **{
                f"{probe['stage']}:{probe['benchmark']}": file_sha256(path)
                for path, probe in zip(arguments.probes, sources.probes, strict=True)
            },
        }
        write_result(
            arguments.card, stamp=stamp("card", recipe, inputs),
            body={"run": recipe["run"]},  # the page also tells times, so it has no digest here
        )  # fmt: skip
    log.info("%s", page)


if __name__ == "__main__":
    run_stage(parser(), work)
