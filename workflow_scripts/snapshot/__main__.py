"""Export a finished run as it was at a step: its encoder as a model folder."""

import argparse
from pathlib import Path
from typing import Any

from workflow_scripts.export.model import (
    corpus_of,
    identity_of,
    load_objective,
    model_card,
    write_weights,
)
from workflow_scripts.export.unfinished import finished_segment, refuse_steps
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.results import stamp, write_result
from workflow_scripts.stage import run_stage, stage_parser


def parser() -> argparse.ArgumentParser:
    """The command line of the stage."""
    one = stage_parser("snapshot", __doc__ or "")
    one.add_argument("--index", type=Path, required=True, help="the corpus's index.json")
    one.add_argument("--run", type=Path, required=True, help="the run's folder")
    one.add_argument("--segment", type=Path, required=True, help="the run's last segment")
    one.add_argument("--teacher", type=Path, help="run folder of the teacher (gfm)")
    one.add_argument(
        "--model", type=Path, required=True, help="the model.json to write, its weights beside it"
    )
    return one


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: the weights first, then the card that makes the folder whole."""
    run, card, step = arguments.run, arguments.model, recipe["step"]
    with exclusive(card):
        segment = finished_segment(arguments.segment, run)
        refuse_steps([step], run=run, segment=segment)
        identity = identity_of(
            arguments.segment, segment["run_digest"], run=run, recipe=recipe["pretrain"]
        )
        corpus = corpus_of(identity, arguments.index)
        objective = load_objective(identity, corpus, run=run, step=step, teacher=arguments.teacher)
        write_weights(card.parent, objective)
        inputs = {"run": identity.run_digest, "corpus": corpus.index["content"]}
        write_result(
            card,
            stamp=stamp("snapshot", recipe, inputs),
            body={**model_card(identity, corpus), "step": step},
        )
    log.info("%s at step %d of %d", run.name, step, segment["end_step"])


if __name__ == "__main__":
    run_stage(parser(), work)
