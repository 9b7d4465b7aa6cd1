"""Export a finished run: weights and model card for timm, curve, summary, reconstructions."""

import argparse
from pathlib import Path
from typing import Any

from workflow_scripts.energy.accounting import NAME, counted_joules
from workflow_scripts.energy.sampler import POWER
from workflow_scripts.errors import UserError
from workflow_scripts.export.curve import summary_of
from workflow_scripts.export.model import (
    corpus_of,
    identity_of,
    load_objective,
    model_card,
    write_weights,
)
from workflow_scripts.export.reconstructions import write_reconstructions
from workflow_scripts.export.unfinished import finished_segment
from workflow_scripts.files import exclusive, write_json, write_text
from workflow_scripts.logs import log
from workflow_scripts.models.folder import CARD
from workflow_scripts.pretrain import attempts, saved
from workflow_scripts.pretrain.history import CURVE, SEGMENTS, read_lines, write_lines
from workflow_scripts.pretrain.started import noted_start
from workflow_scripts.pretrain.times import TIMES, times_of
from workflow_scripts.results import SCHEMA_VERSION, stamp, write_result
from workflow_scripts.stage import run_stage, stage_parser


def parser() -> argparse.ArgumentParser:
    """The command line of the stage."""
    one = stage_parser("export", __doc__ or "")
    one.add_argument("--index", type=Path, required=True, help="the corpus's index.json")
    one.add_argument("--run", type=Path, required=True, help="the run's folder")
    one.add_argument("--segment", type=Path, required=True, help="the run's last segment")
    one.add_argument("--teacher", type=Path, help="run folder of the teacher (gfm)")
    one.add_argument("--pinned", metavar="DIGEST", help="export this stored run, whatever changed")
    return one


def _check_last(folder: Path, step: int) -> None:
    """Refuse weights of an earlier step than the one the run ended at.

    Raises:
        UserError: The checkpoint of that step is gone.
    """
    found = saved.latest(folder)
    if found is None:
        raise UserError(f"{folder}: no checkpoint left to export; train the run again")
    if found != step:
        raise UserError(
            f"{folder}: the run is done, but its last checkpoint is of step {found} of {step}; put "
            "the one of the last step back, or train the run again"
        )


def _curve(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's curve.

    Raises:
        UserError: There is none.
    """
    rows = read_lines(path)
    if not rows:
        raise UserError(
            f"{path}: no line, so no step of this run had a finite loss; nothing was learnt. "
            "Lower optim.base_lr, set optim.clip, or look at the data"
        )
    return rows


def _whole_run(last: dict[str, Any], tried: list[dict[str, Any]]) -> dict[str, Any]:
    """Time, energy and mean power of the whole run.

    From the curve's last line: segments that were killed have left no line of their own. Where no
    counter could be read, as Slurm counted, which is of every attempt from its beginning to its
    end. A counter that did not move has measured nothing: 0 would say that training is free.
    """
    seconds, joules = last.get("seconds"), last.get("energy_j") or None
    whole: dict[str, Any] = {"seconds": seconds, "energy_j": joules}
    if joules is None and (joules := counted_joules(tried)) is not None:
        seconds = sum(one["seconds"] for one in tried)  # what was counted, with its staging
        whole |= {"energy_j": joules, "energy_counter": NAME}
    return {**whole, "watts": round(joules / seconds, 1) if joules and seconds else None}


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Write the run's files; each is whole or absent, and the summary is the last."""
    run: Path = arguments.run
    with exclusive(run / "summary.json"):
        segment = finished_segment(arguments.segment, run)
        identity = identity_of(
            arguments.segment, segment["run_digest"], run=run, recipe=recipe,
            pinned=arguments.pinned,
        )  # fmt: skip
        corpus = corpus_of(identity, arguments.index)
        folder, step = identity.folder(run), segment["end_step"]
        _check_last(folder, step)
        rows = _curve(folder / CURVE)
        objective = load_objective(identity, corpus, run=run, step=step, teacher=arguments.teacher)
        weights = write_weights(run, objective)
        card = {"schema_version": SCHEMA_VERSION, **model_card(identity, corpus)}
        write_json(run / CARD, card)
        write_text(run / CURVE, (folder / CURVE).read_text(encoding="utf-8"))
        write_lines(run / POWER, read_lines(folder / POWER))
        write_text(run / TIMES, times_of(folder))
        write_reconstructions(
            run / "reconstructions.npz", objective, corpus, recipe=identity.recipe
        )
        body = summary_of(
            rows, identity=identity, corpus=corpus, run=run.name, steps=step,
            bad_steps=saved.read_meta(folder, step)["window"].get("bad", 0),
            parameters=sum(p.numel() for p in objective.parameters()),
            encoder_parameters=sum(value.numel() for value in weights.values()),
        ) | noted_start(folder)  # fmt: skip
        inputs = {"run": identity.run_digest, "corpus": corpus.index["content"]}
        tried = attempts.read(folder)
        facts = {
            "segments": read_lines(folder / SEGMENTS),
            "attempts": tried,
            "node_hours": round(attempts.node_hours(tried), 3),
            **_whole_run(rows[-1], tried),
        }
        write_result(
            run / "summary.json", stamp=stamp("export", recipe, inputs), body=body, facts=facts
        )
    log.info("%s: %d steps, loss %.5f", run.name, body["steps"], body["loss_last"])


if __name__ == "__main__":
    run_stage(parser(), work)
