"""The encoder of a checkpoint as a model folder's files, for timm: weights and model card."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from workflow_scripts.errors import UserError
from workflow_scripts.files import atomic
from workflow_scripts.models.encoders import needed_import, timm_architecture
from workflow_scripts.models.folder import WEIGHTS
from workflow_scripts.models.scaling import normalisation
from workflow_scripts.objectives.base import Objective
from workflow_scripts.pretrain import checkpoint
from workflow_scripts.pretrain.construct import meta_objective, scaling_of
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.parallel import laid_out, plain
from workflow_scripts.pretrain.run_digest import Identity, stored_identity, warn_of_changes
from workflow_scripts.shards.corpus import Corpus


def identity_of(
    segment: Path, digest: str, *, run: Path, recipe: dict[str, Any], pinned: str | None = None
) -> Identity:
    """The stored identity of a segment's run, which must be the run that was asked for.

    Args:
        segment: The segment's JSON.
        digest: The run digest that it tells.
        run: The run's folder.
        recipe: The recipe of training that was asked for.
        pinned: What the run digest must begin with, whatever the recipe.

    Raises:
        UserError: It is another run.
    """
    stored = stored_identity(run, digest)
    if pinned:
        if not digest.startswith(pinned):
            raise UserError(
                f"{segment}: belongs to run {digest[:16]}, but {pinned} is pinned; make it again"
            )
        warn_of_changes(stored, run, recipe)
    elif stored.recipe != recipe:
        raise UserError(
            f"{segment}: belongs to a run of another recipe; make it again, or pin the run to "
            f"{digest[:16]}"
        )
    return stored


def corpus_of(identity: Identity, index: Path) -> Corpus:
    """The corpus that a run was trained on.

    Raises:
        UserError: The index is of another one.
    """
    corpus = Corpus(index, identity.recipe["split"])
    if corpus.index["content"] != identity.content:
        raise UserError(
            f"{index}: holds content {corpus.index['content'][:16]}, but the run was trained on "
            f"{identity.content[:16]}; put that corpus back, or train again"
        )
    return corpus


def load_objective(
    identity: Identity, corpus: Corpus, *, run: Path, step: int, teacher: Path | None
) -> Objective:
    """The objective on one process as it was after a step, from the checkpoint of that step.

    Raises:
        UserError: The checkpoint cannot be read.
    """
    objective = plain(
        laid_out(
            meta_objective(identity.recipe, corpus, teacher), "no_shard", ranks=Ranks(),
            device=torch.device("cpu"), precision="fp32", seed=identity.recipe["seed"],
        )
    )  # fmt: skip
    checkpoint.load(identity.folder(run), step, objective=objective, optimizer=None)
    return objective.eval()


def write_weights(folder: Path, objective: Objective) -> dict[str, Tensor]:
    """Write the encoder's weights into a model folder, and return them under timm's names."""
    weights = {
        name: value.detach().float().contiguous()
        for name, value in objective.export_encoder_state(objective.state_dict()).items()
    }
    with atomic(folder / WEIGHTS) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})
        temporary.chmod(0o644)  # safetensors makes it readable by its owner alone
    return weights


def model_card(identity: Identity, corpus: Corpus) -> dict[str, Any]:
    """What `model.json` says: enough to build the encoder with timm and to feed it."""
    recipe, index = identity.recipe, corpus.index
    architecture, kwargs = timm_architecture(recipe["encoder"], corpus.channels)
    supervised = recipe["objective"] == "supervised"
    return {
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
