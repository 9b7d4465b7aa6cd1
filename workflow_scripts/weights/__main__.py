"""Write pretrained weights from elsewhere as a model folder, like that of a finished run."""

import argparse
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from workflow_scripts.digests import file_sha256
from workflow_scripts.fetch.folder import LISTING
from workflow_scripts.files import atomic, exclusive
from workflow_scripts.logs import log
from workflow_scripts.models.folder import WEIGHTS
from workflow_scripts.models.start import grouped
from workflow_scripts.results import stamp, write_result
from workflow_scripts.stage import run_stage, stage_parser
from workflow_scripts.weights.card import build, model_card
from workflow_scripts.weights.read import fitted, read_tensors
from workflow_scripts.weights.source import find_source


def parser() -> argparse.ArgumentParser:
    """The command line of the stage."""
    one = stage_parser("weights", __doc__ or "")
    one.add_argument(
        "--model", type=Path, required=True, help="the model.json to write, its weights beside it"
    )
    return one


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: the weights first, then the card that makes the folder whole."""
    card: Path = arguments.model
    with exclusive(card):
        with torch.device("meta"):
            model = build(recipe)
        pretrained: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
        body = model_card(recipe, model, pretrained)
        place = card.parents[2] / "raw" / f"{recipe['architecture']}.safetensors"
        source = find_source(recipe, pretrained, place=place)
        state, left_out = fitted(read_tensors(source.path), model, source.path)
        with atomic(card.with_name(WEIGHTS)) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
            temporary.chmod(0o644)  # safetensors makes it readable by its owner alone
        body |= {"source": source.name, "left_out": grouped(left_out)}
        # The listing (with its times) is why the file was looked at, and no part of the result.
        kept = {key: value for key, value in recipe.items() if key != LISTING}
        write_result(
            card,
            stamp=stamp("weights", kept, {"source": file_sha256(source.path)}),
            body=body,
            facts={"revision": source.revision},
        )
    for form, count in body["left_out"].items():
        log.info("not used: %s (%d)", form, count)
    count = sum(value.numel() for value in state.values())
    log.info(
        "%s: %s of %s, %d parameters in %d tensors, licence %s",
        card, body["architecture"], source.name, count, len(state), body["licence"] or "not stated",
    )  # fmt: skip


if __name__ == "__main__":
    run_stage(parser(), work)
