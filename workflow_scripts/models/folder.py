"""Model folders: `model.json` and `weights.safetensors`, of a finished run or from elsewhere.

`export` writes one for each run, `snapshot` one for a step of it, `weights` one for each entry of
the configuration's `weights`; teachers and starts are read from the first and the last, probes
judge all. Nothing here needs torch.
"""

from pathlib import Path
from typing import Any

from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json

CARD, WEIGHTS = "model.json", "weights.safetensors"
# What of a card decides how its weights are used; the rest tells where they come from.
_DECIDES = (
    "architecture", "kwargs", "family", "image_size", "channels", "normalisation", "encoder",
)  # fmt: skip
_WITHIN = {"normalisation": ("mean", "std"), "encoder": ("depths", "heads")}


def read_card(folder: Path) -> dict[str, Any]:
    """The `model.json` of a model folder.

    Raises:
        UserError: It is missing, or lacks what tells how the model is built and fed.
    """
    found: Any = read_json(folder / CARD)
    card: dict[str, Any] = found if isinstance(found, dict) else {}
    lacks = [name for name in _DECIDES if name not in card]
    lacks += [
        f"{name}.{key}"
        for name, keys in _WITHIN.items()
        for key in keys
        if name in card and (not isinstance(card[name], dict) or key not in card[name])
    ]
    if lacks:
        raise UserError(
            f"{folder / CARD}: not a model.json of a finished run or of `weights`; it lacks "
            f"{', '.join(lacks)}"
        )
    return card


def has_model(folder: Path) -> bool:
    """Whether both files are there."""
    return (folder / CARD).is_file() and (folder / WEIGHTS).is_file()


def content_digest(folder: Path | None, role: str) -> str | None:
    """Digest of a model: its weights' bytes and what decides how they are used.

    Args:
        folder: The model folder; None for no model.
        role: What the model is for, such as `teacher`, for the error.

    Raises:
        UserError: A file is missing.
    """
    if folder is None:
        return None
    weights = file_digests(folder, role)["weights"]
    return content_of(read_json(folder / CARD), weights)


def file_digests(folder: Path, role: str) -> dict[str, str]:
    """Hexadecimal sha256 of a model's files: of its card as `model`, of its `weights`.

    Args:
        folder: The model folder.
        role: What the model is for, such as `teacher`, for the error.

    Raises:
        UserError: It has no weights.
    """
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise UserError(f"{weights}: the {role} has no exported weights; finish its run first")
    return {"model": file_sha256(folder / CARD), "weights": file_sha256(weights)}


def content_of(card: dict[str, Any], weights: str) -> str:
    """Digest of a model: what of its card decides how it is used, and its weights' sha256."""
    used = {name: card.get(name) for name in _DECIDES}
    return digest({"weights": weights, "model": used})


def check_scale(folder: Path, scale: str, corpus: str) -> None:
    """Refuse a teacher that was trained on pixels of another unit than a corpus has.

    Args:
        folder: The teacher's model folder.
        scale: The corpus's scale, `unit` or `physical` (see `models.scaling`).
        corpus: The corpus's name.

    Raises:
        UserError: Names both scales.
    """
    card = read_json(folder / CARD)
    own = card.get("normalisation", {}).get("scale", scale) if isinstance(card, dict) else scale
    if own != scale:
        raise UserError(
            f"{folder / CARD}: the teacher's normalisation.scale is {own!r} and corpus {corpus!r} "
            f"has {scale!r} (`unit`: value / 255 of images, `physical`: units of chips); take a "
            "teacher that was trained on such data"
        )
