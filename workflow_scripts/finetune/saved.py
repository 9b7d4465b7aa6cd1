"""What survives a kill: a trial's state after each epoch, and what it found when it was judged.

Both are written under a temporary name and renamed, so that a file that exists is whole. Everything
drawn at random is a function of (seed, epoch, sample) or of (seed, step), so that no generator's
state has to be kept.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from workflow_scripts.errors import UserError
from workflow_scripts.files import atomic


@dataclass(frozen=True)
class Found:
    """What a trial found.

    Attributes:
        scores: (n_test, classes) float32 of the network after the last epoch.
        losses: (epochs,) mean training loss of each.
    """

    scores: NDArray[np.float32]
    losses: NDArray[np.float64]


class Saved:
    """The files of one trial.

    Args:
        folder: Where they lie; made when needed.
        name: The trial's, `<who>-<split>-<seed>`.
    """

    def __init__(self, folder: Path, name: str) -> None:
        stem = quote(name, safe="")  # splits are called what a file's header says
        self.state, self.found = folder / f"{stem}.pt", folder / f"{stem}.npz"

    def keep(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, losses: list[float]
    ) -> None:
        """Write the state after an epoch; `losses` are those of the epochs done."""
        state = {
            "network": network.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses,
        }  # fmt: skip
        with atomic(self.state) as temporary:
            torch.save(state, temporary)

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
        """Put back the last state; returns the losses of the epochs done, none if it is new.

        Raises:
            UserError: The file is not one that `keep` wrote for this network.
        """
        if not self.state.is_file():
            return []
        try:
            state: dict[str, Any] = torch.load(self.state, map_location="cpu", weights_only=True)
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            return list(state["losses"])
        except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
            raise UserError(
                f"{self.state}: not a checkpoint of this trial ({error}); delete it, and the trial "
                "begins anew"
            ) from None

    def keep_found(self, found: Found) -> None:
        """Write what the trial found, and drop its last state."""
        with atomic(self.found) as temporary, temporary.open("wb") as file:
            np.savez(file, scores=found.scores, losses=found.losses)
        self.state.unlink(missing_ok=True)

    def read_found(self) -> Found | None:
        """What the trial found; None if it is not done.

        Raises:
            UserError: The file is damaged.
        """
        if not self.found.is_file():
            return None
        try:
            with np.load(self.found, allow_pickle=False) as arrays:
                return Found(arrays["scores"], arrays["losses"])
        except (OSError, EOFError, KeyError, ValueError) as error:
            raise UserError(
                f"{self.found}: not what a trial found ({error}); delete it, and the trial is done "
                "again"
            ) from None
