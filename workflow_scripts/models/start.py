"""Continual pretraining: an encoder that starts from another model's weights.

A start is a model folder (see `models.folder`): the encoder of a finished run, or pretrained
weights from elsewhere. Only encoders are kept, so decoders, projectors and mask tokens start from
the seed, as does everything else the folder does not hold. A value goes in under its name:

- bit for bit where the shapes agree (in float32, whatever the file's precision);
- position tables of another grid and Swin's relative position tables of another window are resized
  by timm, as is a patch embedding of another patch size (arXiv 2212.08013);
- a patch embedding of another number of bands cannot be used and is drawn from the seed;
- any other difference of shape is refused.

MAE's position table is fixed and begins after the class token: it becomes the start's table,
resized, with the class token's row added to the class token, which changes nothing in what the
encoder computes.

Tensors are read one by one when they are placed, whole on every rank: all layouts get the same
bits.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors
import timm
import torch
from safetensors import safe_open
from timm.layers import (
    resample_abs_pos_embed,
    resample_patch_embed,
    resize_rel_pos_bias_table,
)
from torch import Tensor, nn

from workflow_scripts.errors import UserError
from workflow_scripts.models.folder import WEIGHTS, read_card

_PREFIX = "encoder."  # of the encoder's parameters in an objective
_PATCH, _TABLE, _BIAS_TABLE = "patch_embed.proj", "pos_embed", "relative_position_bias_table"
_ORIGIN = ("architecture", "source", "licence", "corpus", "run_digest")
_NAMED = 6  # shapes that do not fit, in an error


def grouped(names: Iterable[str]) -> dict[str, int]:
    """How many names there are of each form, numbers replaced by `*`: short and complete."""
    forms = Counter(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names)
    return dict(sorted(forms.items()))


class Start:
    """The weights of a model folder, as the encoder of a run takes them.

    Args:
        folder: The model folder.
        encoder: The run's encoder, on any device; its values are not used.
        expected: The recipe's `encoder`, for its family and heads.
        positions: Shape (tokens, width) of a fixed position table beside the encoder, if it has
            none of its own (MAE).

    Attributes:
        origin: What the folder's card says of where its weights come from, and their licence.
        report: Which parameters were loaded (some of them resized), left fresh, missing in the
            folder and unexpected in it, as forms of names with their numbers.

    Raises:
        UserError: No model folder, another family, other heads, shapes that do not fit, or none
            of the blocks.
    """

    def __init__(
        self, folder: Path, encoder: nn.Module, *, expected: dict[str, Any],
        positions: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self._encoder = encoder
        self._positions = positions
        card = read_card(folder)
        # A ViT's weights have the same shapes with any number of heads.
        for what, seen in (("family", card["family"]), ("heads", card["encoder"]["heads"])):
            if seen != expected[what]:
                raise UserError(
                    f"{folder}: has {what} {seen!r}, but the encoder of this run that is to start "
                    f"from it has {what} {expected[what]!r}; make them the same"
                )
        self.origin = {name: card[name] for name in _ORIGIN if name in card}
        self._open()
        self._rows = _rows_before_patches(card)
        self._targets = {name: tuple(p.shape) for name, p in encoder.named_parameters()}
        self.report = self._compare()

    def _open(self) -> None:
        path = self.folder / WEIGHTS
        if not path.is_file():
            raise UserError(f"{path}: no such file; finish the run or make the weights first")
        try:
            self._file = safe_open(path, framework="pt", device="cpu")
        except safetensors.SafetensorError as error:
            raise UserError(f"{path}: not a safetensors file ({error})") from None
        names = self._file.keys()
        self._shapes = {name: tuple(self._file.get_slice(name).get_shape()) for name in names}

    def _compare(self) -> dict[str, dict[str, int]]:
        """How each parameter fits; see `report`."""
        fits: dict[str, list[str]] = {"loaded": [], "resized": [], "fresh": [], "missing": []}
        wrong = []
        shapes: dict[str, tuple[int, ...]] = dict(self._targets)
        if self._positions and _TABLE in self._shapes:
            shapes[_TABLE] = (1, self._positions[0] + self._rows, self._positions[1])
        for name, shape in shapes.items():
            fit = self._fit(name, shape)
            if fit is None:
                wrong.append(f"{name} is {list(self._shapes[name])}, expected {list(shape)}")
                continue
            fits[fit].append(name)
        fits["loaded"] += fits["resized"]
        self._refuse(wrong, fits["loaded"])
        fits["unexpected"] = [name for name in self._shapes if name not in shapes]
        return {fit: grouped(names) for fit, names in fits.items()}

    def _fit(self, name: str, shape: tuple[int, ...]) -> str | None:
        """How the folder's tensor becomes a parameter of that shape; None if it cannot."""
        own = self._shapes.get(name)
        if own is None:
            return "missing"
        if self._is_fresh(name):
            return "fresh"
        if own == shape or _bare(own) == shape:
            return "loaded"
        resizable = (
            (name == _TABLE and own[-1] == shape[-1])
            or (name.endswith(_BIAS_TABLE) and own[1:] == shape[1:])
            or (name == f"{_PATCH}.weight" and own[:2] == shape[:2])
        )
        return "resized" if resizable else None

    def _refuse(self, wrong: list[str], loaded: list[str]) -> None:
        path = self.folder / WEIGHTS
        if wrong:
            more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            raise UserError(
                f"{path}: not the shapes of this run's encoder: {'; '.join(wrong[:_NAMED])}{more}. "
                "Widths, heads and MLPs of a start must be the run's; image size, window, patch "
                "and bands may differ"
            )
        if not any("blocks." in name for name in loaded):
            raise UserError(
                f"{path}: holds no weights of any block of this run's encoder, only "
                f"{', '.join(list(grouped(self._shapes))[:_NAMED]) or 'nothing'}"
            )

    def _is_fresh(self, name: str) -> bool:
        """Whether a parameter is one of a patch embedding that sees other bands."""
        weight = f"{_PATCH}.weight"
        if not name.startswith(f"{_PATCH}.") or weight not in self._shapes:
            return False
        return self._shapes[weight][1] != self._targets[weight][1]

    def value(self, name: str) -> Tensor | None:
        """The full value of an objective's parameter, float32 on the CPU; None where it is fresh.

        Args:
            name: The parameter's name in the objective, such as `encoder.norm.weight`.
        """
        own = name.removeprefix(_PREFIX)
        if own == name or own not in self._shapes or self._is_fresh(own):
            return None
        shape = self._targets[own]
        if own == _TABLE:
            return self._own_table(shape)
        value: Tensor = self._file.get_tensor(own).float()
        if own == "cls_token" and self._positions and _TABLE in self._shapes:
            value = value + self._table(self._positions[0])[0]
        if own.endswith(_BIAS_TABLE) and value.shape != shape:
            attention: Any = self._encoder.get_submodule(own.removesuffix(f".{_BIAS_TABLE}"))
            return resize_rel_pos_bias_table(value, attention.window_size, shape)
        if own == f"{_PATCH}.weight" and value.shape != shape:
            return resample_patch_embed(value, list(shape[2:]))
        return value.reshape(shape)

    def positions(self) -> Tensor | None:
        """The table (tokens, width) of the patches for an objective that keeps it fixed.

        None where the start has no table, or the objective none of its own.
        """
        if self._positions is None or _TABLE not in self._shapes:
            return None
        return self._table(self._positions[0])[1]

    def _own_table(self, shape: tuple[int, ...]) -> Tensor:
        """The table for an encoder that has one itself, (1, rows before patches + tokens, D)."""
        model: Any = self._encoder
        tokens = model.patch_embed.num_patches
        class_row, patches = self._table(tokens)
        before = class_row.expand(shape[1] - tokens, -1)
        return torch.cat([before, patches]).reshape(shape)

    def _table(self, tokens: int) -> tuple[Tensor, Tensor]:
        """The class token's row (D,), zeros if there is none, and those of `tokens` patches."""
        table = self._file.get_tensor(_TABLE).float()
        side = round(tokens**0.5)
        table = resample_abs_pos_embed(
            table, new_size=[side, side], num_prefix_tokens=self._rows
        ).squeeze(0)
        class_row = table[0] if self._rows else torch.zeros_like(table[0])
        return class_row, table[self._rows :]


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(1, 1, D) → (D,): a class token inside an objective is a vector."""
    return shape[2:] if shape[:2] == (1, 1) else shape


def _rows_before_patches(card: dict[str, Any]) -> int:
    """Rows of a ViT's position table that belong to its class and register tokens."""
    if card["family"] != "vit":
        return 0
    with torch.device("meta"):
        model: Any = timm.create_model(card["architecture"], **card["kwargs"])
    return 0 if model.no_embed_class else int(model.num_prefix_tokens)
