"""Weights of a file under timm's names, in the shapes of their architecture."""

import argparse
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from workflow_scripts.errors import UserError

State = dict[str, Tensor]

_NESTED = ("model", "state_dict")  # keys under which training code keeps a state dict
# Settings that the training code of MAE (argparse) and of SimMIM and GFM (yacs) keeps beside the
# tensors: plain data, read as such and thrown away.
_SETTINGS: list[Any] = [argparse.Namespace, (OrderedDict, "yacs.config.CfgNode")]
_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
_ENCODER = "encoder."  # what SimMIM's and GFM's code calls the network that is kept
_NAMED = 6


def read_tensors(path: Path) -> State:
    """The tensors of a safetensors or PyTorch file; no code in it is run.

    Raises:
        UserError: It is neither, or holds no tensors by name.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        with torch.serialization.safe_globals(_SETTINGS):
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        kind, advice = (
            ("safetensors, as its ending says", "it may have been cut short: fetch it again")
            if path.suffix == ".safetensors"
            else (
                "a PyTorch file of tensors alone",
                "if it is whole and you trust it, convert it to safetensors elsewhere",
            )
        )
        raise UserError(f"{path}: cannot be read as {kind} ({cause}); {advice}") from None
    while isinstance(found, dict) and any(isinstance(found.get(k), dict) for k in _NESTED):
        found = next(found[k] for k in _NESTED if isinstance(found.get(k), dict))
    tensors = _tensors(found)
    if not tensors:
        raise UserError(f"{path}: holds no tensors by name")
    return tensors


def _tensors(found: Any) -> State:
    items = found.items() if isinstance(found, dict) else ()
    return {str(name): value for name, value in items if isinstance(value, Tensor)}


def of_encoder(state: State) -> tuple[State, list[str]]:
    """The part of a state dict that is an encoder's, and the names of all else.

    Wrappers' prefixes are dropped. With names that begin with `encoder.` only those count (SimMIM,
    GFM); with a decoder in it, its mask token is the decoder's (MAE).
    """
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    prefix = _ENCODER if any(name.startswith(_ENCODER) for name in state) else ""
    has_decoder = any(name.startswith("decoder") for name in state)

    def is_kept(name: str) -> bool:
        own = name.removeprefix(prefix)
        with_decoder = own.startswith("decoder") or own == "mask_token"
        return name.startswith(prefix) and not (has_decoder and with_decoder)

    kept = {name.removeprefix(prefix): state[name] for name in state if is_kept(name)}
    return kept, [name for name in state if not is_kept(name)]


def fitted(state: State, model: nn.Module, path: Path) -> tuple[State, list[str]]:
    """An encoder's state dict as `model` takes it, float32, and the names that it has no use for.

    timm's own filter of the architecture renames what older code called otherwise. Nothing is
    resized here: the card has to tell the size that the weights were trained at.

    Raises:
        UserError: Tensors are missing, have other shapes, or hold what is no number.
    """
    expected = model.state_dict()
    own, left_out = of_encoder(state)
    _refuse_other_shapes(own, expected, path)
    # Each family of timm has one beside its class; it has no place in the public interface.
    rename: Any = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    renamed: State = rename(dict(own), model) if rename else own
    left_out += [name for name in renamed if name not in expected]
    missing = [name for name in expected if name not in renamed]
    if missing:
        raise UserError(
            f"{path}: lacks {len(missing)} of the {len(expected)} tensors of "
            f"{type(model).__name__}, such as {', '.join(missing[:_NAMED])}; found are "
            f"{', '.join(list(state)[:_NAMED])}. Is the architecture the right one?"
        )
    _refuse_other_shapes(renamed, expected, path)
    found = {name: renamed[name].float().contiguous() for name in expected}
    # Fused attention on cores makes zeros of NaN queries: broken weights may give features that
    # look sound.
    if broken := [name for name, value in found.items() if not value.isfinite().all()]:
        raise UserError(
            f"{path}: {len(broken)} tensors hold NaN or infinite values, such as "
            f"{', '.join(broken[:_NAMED])}; fetch or train these weights again"
        )
    return found, sorted(left_out)


def _refuse_other_shapes(state: State, expected: State, path: Path) -> None:
    wrong = [
        f"{name} is {list(state[name].shape)}, expected {list(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if wrong:
        raise UserError(
            f"{path}: not the shapes of the architecture: {'; '.join(wrong[:_NAMED])}. Name the "
            "architecture, image_size, window and channels that these weights were trained with"
        )
