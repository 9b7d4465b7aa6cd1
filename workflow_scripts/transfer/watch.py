"""What the threads of a download share: the meter, the room on the disk, and the call to stop."""

import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.logs import ByteMeter
from workflow_scripts.transfer.part import part_paths
from workflow_scripts.transfer.patience import Stopped
from workflow_scripts.transfer.remote import Remote


class Watch:
    """Counts the bytes that come and calls the work off."""

    def __init__(self, meter: ByteMeter) -> None:
        self._meter = meter
        self.stop = threading.Event()

    def came(self, count: int, *, now: bool = True) -> None:
        """So many bytes are there; `now=False`: from before, or (negative) thrown away."""
        self._meter.add(count, now=now)

    def check(self) -> None:
        """Raise `Stopped` if the work was called off."""
        if self.stop.is_set():
            raise Stopped

    def needs(self, target: Path, count: int) -> None:
        """A file of a size that was not known before needs so many bytes more.

        Raises:
            UserError: There is less room.
        """
        require_room(target.parent, count, str(target))


def missing_bytes(remotes: Iterable[Remote], folder: Path) -> int:
    """Bytes still to come of those files whose size is known."""
    missing = 0
    for remote in remotes:
        target = folder / remote.name
        if remote.bytes and _size(target) != remote.bytes:
            missing += max(remote.bytes - (_size(part_paths(target)[0]) or 0), 0)
    return missing


def require_room(folder: Path, count: int, what: str) -> None:
    """Compare what is to come with the free space.

    Raises:
        UserError: It does not fit; names both.
    """
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if count > free:
        raise UserError(
            f"{what}: {count} bytes ({count / 1e9:.1f} GB) are still to come, but the file system "
            f"of {folder} has {free} bytes ({free / 1e9:.1f} GB) free; make room, or choose "
            "another place (`paths.data`)"
        )


def _size(path: Path) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
