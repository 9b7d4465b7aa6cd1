"""Export a finished run: weights and model card for timm, curve, summary, reconstructions."""

import argparse
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from workflow_scripts.errors import UserError
from workflow_scripts.export.curve import summary_of
from workflow_scripts.export.reconstructions import write_reconstructions
from workflow_scripts.export.unfinished import finished_segment
from workflow_scripts.files import atomic, exclusive, write_json, write_text
from workflow_scripts.logs import log
from workflow_scripts.models.encoders import needed_import, timm_architecture
from workflow_scripts.models.scaling import normalisation
from workflow_scripts.objectives.base import Objective
from workflow_scripts.pretrain import attempts, checkpoint, saved
from workflow_scripts.pretrain.construct import meta_objective, scaling_of
from workflow_scripts.pretrain.history import CURVE, SEGMENTS, read_lines
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.parallel import laid_out, plain
from workflow_scripts.pretrain.run_digest import Identity, stored_identity, warn_of_changes
from workflow_scripts.pretrain.started import noted_start
from workflow_scripts.results import SCHEMA_VERSION, stamp, write_result
from workflow_scripts.shards.corpus import Corpus
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


def _identity(arguments: argparse.Namespace, recipe: dict[str, Any], digest: str) -> Identity:
    """The stored identity of the segment's run, which must be the run that was asked for."""
    stored = stored_identity(arguments.run, digest)
    if arguments.pinned:
        if not digest.startswith(arguments.pinned):
            raise UserError(
                f"{arguments.segment}: belongs to run {digest[:16]}, but {arguments.pinned} is "
                "pinned; make it again"
            )
        warn_of_changes(stored, arguments.run, recipe)
    elif stored.recipe != recipe:
        raise UserError(
            f"{arguments.segment}: belongs to a run of another recipe; make it again, or pin the "
            f"run to {digest[:16]}"
        )
    return stored


def load_objective(
    identity: Identity, corpus: Corpus, *, run: Path, teacher: Path | None
) -> Objective:
    """The trained objective on one process, from the run's last checkpoint.

    Raises:
        UserError: The checkpoints are gone.
    """
    folder = identity.folder(run)
    step = saved.latest(folder)
    if step is None:
        raise UserError(f"{folder}: no checkpoint left to export; train the run again")
    objective = plain(
        laid_out(
            meta_objective(identity.recipe, corpus, teacher), "no_shard", ranks=Ranks(),
            device=torch.device("cpu"), precision="fp32", seed=identity.recipe["seed"],
        )
    )  # fmt: skip
    checkpoint.load(folder, step, objective=objective, optimizer=None)
    return objective.eval()


def _check_last(folder: Path, step: int) -> None:
    """Refuse weights of an earlier step than the one the run ended at."""
    found = saved.latest(folder)
    if found is not None and found != step:
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


def model_card(identity: Identity, corpus: Corpus) -> dict[str, Any]:
    """What `model.json` says: enough to build the encoder with timm and to feed it."""
    recipe, index = identity.recipe, corpus.index
    architecture, kwargs = timm_architecture(recipe["encoder"], corpus.channels)
    supervised = recipe["objective"] == "supervised"
    return {
        "schema_version": SCHEMA_VERSION,
        "architecture": architecture,
        "kwargs": kwargs,
        "requires": needed_import(architecture),
        "family": recipe["encoder"]["family"],
        "image_size": recipe["encoder"]["image_size"],
        "channels": corpus.channels,
        "normalisation": normalisation(index, scaling_of(recipe)),
        "quantity": index.get("quantity"),
        "objective": recipe["objective"],
        "synthetic": index["synthetic"],
        "corpus": index["corpus"],
        "bands": index["bands"],
        "run_digest": identity.run_digest,
        "encoder": recipe["encoder"],
        "classes": corpus.classes if supervised else None,
    }


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Write the run's files; each is whole or absent, and the summary is the last."""
    run: Path = arguments.run
    with exclusive(run / "summary.json"):
        segment = finished_segment(arguments.segment, run)
        identity = _identity(arguments, recipe, segment["run_digest"])
        corpus = Corpus(arguments.index, identity.recipe["split"])
        if corpus.index["content"] != identity.content:
            raise UserError(
                f"{arguments.index}: holds content {corpus.index['content'][:16]}, but the run was "
                f"trained on {identity.content[:16]}; put that corpus back, or train again"
            )
        folder = identity.folder(run)
        _check_last(folder, segment["end_step"])
        rows = _curve(folder / CURVE)
        objective = load_objective(identity, corpus, run=run, teacher=arguments.teacher)
        weights = {
            name: value.detach().float().contiguous()
            for name, value in objective.export_encoder_state(objective.state_dict()).items()
        }
        with atomic(run / "weights.safetensors") as temporary:
            save_file(weights, temporary, metadata={"format": "pt"})
            temporary.chmod(0o644)  # safetensors makes it readable by its owner alone
        write_json(run / "model.json", model_card(identity, corpus))
        write_text(run / CURVE, (folder / CURVE).read_text(encoding="utf-8"))
        write_reconstructions(
            run / "reconstructions.npz", objective, corpus, recipe=identity.recipe
        )
        body = summary_of(
            rows, identity=identity, corpus=corpus, run=run.name, steps=segment["end_step"],
            bad_steps=saved.read_meta(folder, segment["end_step"])["window"].get("bad", 0),
            parameters=sum(p.numel() for p in objective.parameters()),
            encoder_parameters=sum(value.numel() for value in weights.values()),
        ) | noted_start(folder)  # fmt: skip
        inputs = {"run": identity.run_digest, "corpus": corpus.index["content"]}
        # Of the whole run: segments that were killed have left no line of their own.
        whole = {name: rows[-1].get(name) for name in ("seconds", "energy_j")}
        tried = attempts.read(folder)
        facts = {
            "segments": read_lines(folder / SEGMENTS),
            "attempts": tried,
            "node_hours": round(attempts.node_hours(tried), 3),
            **whole,
        }
        write_result(
            run / "summary.json", stamp=stamp("export", recipe, inputs), body=body, facts=facts
        )
    log.info("%s: %d steps, loss %.5f", run.name, body["steps"], body["loss_last"])


if __name__ == "__main__":
    run_stage(parser(), work)
