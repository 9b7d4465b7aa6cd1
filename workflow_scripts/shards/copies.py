"""Copies of shards on the node's own disk, as those who read see them.

The contract with `copy_folder`, which makes them: a file with a shard's sha256 for its name was
compared with that sum as a whole, by a copier that lives or was followed by one that does, and
bears `VERIFIED` as its time, which whoever writes to it takes from it. Such a file is read in place
of the shard wherever a shard is opened, and where one stays open, soon after its copy is there.
What is wrong with a copy is told, and the shard itself is read instead.
"""

import io
import math
import os
import time
from pathlib import Path

from workflow_scripts.logs import log

VERIFIED = 0  # modification time of a copy that was compared with its sum, ns
_LOOK_SECONDS = 1.0  # how often a shard that is open looks for its copy


class Copies:
    """Where the copies of a corpus's shards are on this node.

    Args:
        folder: Theirs alone; it need not be there.

    Attributes:
        reads: Samples that this process read from copies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reads = 0

    def of(self, sha256: str) -> "ShardCopy":
        """The copy of a shard by its checksum."""
        return ShardCopy(self.folder / copy_name(sha256), self)


def copy_name(sha256: str) -> str:
    """File name of the copy of a shard with that checksum."""
    return f"{sha256}.h5"


class ShardCopy:
    """The copy of one shard, which may come late, and may be lost again.

    Args:
        path: Where it is once it is verified.
        copies: Those that it belongs to.

    Attributes:
        next_look: `time.monotonic()` from which on it may be worth asking for it.
    """

    def __init__(self, path: Path, copies: Copies) -> None:
        self.path, self.copies = path, copies
        self.next_look = 0.0
        self._lost = self._was_used = False

    def opened(self) -> io.FileIO | None:
        """The copy, open for reading; None if there is none that can be trusted."""
        if self._lost:
            return None
        self.next_look = time.monotonic() + _LOOK_SECONDS
        try:
            file = io.FileIO(self.path)
        except FileNotFoundError:
            if self._was_used:
                log.warning("%s: this local copy is gone; the shard is read instead", self.path)
            self._was_used = False  # it may come back
            return None
        except OSError as error:
            self.give_up(f"cannot be opened ({error.strerror})")
            return None
        if os.fstat(file.fileno()).st_mtime_ns != VERIFIED:
            file.close()
            self.give_up("was changed after it was verified")
            return None
        self._was_used, self.next_look = True, math.inf
        return file

    def give_up(self, what: str) -> None:
        """Tell what is wrong with it; this process uses it no more."""
        log.warning("%s: this local copy %s; the shard is read instead", self.path, what)
        self._lost, self.next_look = True, math.inf
