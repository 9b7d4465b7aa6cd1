"""Copying shards to the node while a segment begins: one rank of each node starts the copier.

Needs no torch, so that copying begins before it is imported and before the ranks meet. By then each
node's folder holds nothing unverified.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.loader import copier
from workflow_scripts.logs import log
from workflow_scripts.pretrain import saved
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.shards.copies import Copies
from workflow_scripts.shards.copy_folder import own_folder, prepare
from workflow_scripts.shards.corpus import content_digest

_SECONDS_TO_END = 10.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where copies go, as the launch says: a folder of each node, and GB at most."""

    stage_to: str | None
    most_gb: float | None
    ranks: Ranks


class Staging:
    """The copies on this node, and on one of its ranks the process that makes them.

    Args:
        folder: The copies' folder.
        copying: That process.

    Attributes:
        began: When copying began, in seconds since 1970.
    """

    def __init__(self, folder: Path, copying: "subprocess.Popen[bytes] | None") -> None:
        self.copies = Copies(folder)
        self._copying, self.began = copying, time.time()
        self._told: dict[str, Any] = {}

    def facts(self, reads: int) -> dict[str, Any]:
        """End the copying; returns what was done on this node, for the provenance.

        Args:
            reads: Samples that this rank read from copies.
        """
        self.close()
        return {"folder": str(self.copies.folder), **self._told, "samples_read": reads}

    def close(self) -> None:
        """End the copying."""
        if self._copying is None:
            return
        process, self._copying = self._copying, None
        process.terminate()
        try:
            told, _ = process.communicate(timeout=_SECONDS_TO_END)
        except subprocess.TimeoutExpired:  # it waits for a file system
            process.kill()
            log.warning("%s: its copier did not end in time and was killed", self.copies.folder)
            return
        if told:
            self._told = json.loads(told) or {}
        elif process.returncode > 0 or process.returncode == -9:
            log.warning(
                "%s: its copier ended with status %d; shards that were not copied were read where "
                "they are", self.copies.folder, process.returncode,
            )  # fmt: skip


@contextmanager
def staged(
    place: Place, *, index: Path, recipe: dict[str, Any], checkpoints: Path
) -> Iterator[Staging | None]:
    """Copy shards to this node while the block runs; None if that was not asked, or cannot be.

    Args:
        place: Where to.
        index: The corpus's index.
        recipe: The run's recipe.
        checkpoints: The run's checkpoint folder, which tells where in the order of reading it is.
    """
    staging = _started(place, index, recipe, checkpoints) if place.stage_to else None
    try:
        yield staging
    finally:
        if staging is not None:
            staging.close()


def _started(
    place: Place, index: Path, recipe: dict[str, Any], checkpoints: Path
) -> Staging | None:
    assert place.stage_to is not None
    try:
        folder = own_folder(place.stage_to, content_digest(read_json(index)))
        if place.ranks.local_rank:
            return Staging(folder, None)
        lock = prepare(folder)
        request = {
            "index": str(index),
            "split": recipe["split"],
            "order": {**{name: recipe[name] for name in ("batch", "epochs", "seed")},
                      "window": recipe.get("shuffle_window")},
            "step": saved.latest(checkpoints) or 0,
            "folder": str(folder),
            "most": place.most_gb and place.most_gb * 1e9,
            "lock": lock,
            "tell": place.ranks.is_first,
            "parent": os.getpid(),
        }  # fmt: skip
        return Staging(folder, _start(request))
    except (UserError, OSError) as error:  # this one where no further process can be started
        if not place.ranks.local_rank:
            copier.warn(f"{error}; shards are read where they are")
        return None


def _start(request: dict[str, Any]) -> "subprocess.Popen[bytes]":
    """Start the copier, which holds the lock from then on."""
    process = subprocess.Popen(
        [sys.executable, "-m", copier.MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[request["lock"]],
        process_group=0,  # signals for the ranks' group are not for it
    )
    os.close(request["lock"])
    assert process.stdin is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.close()
    process.stdin = None
    return process
