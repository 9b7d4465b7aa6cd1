"""Copy the shards that the rest of a segment reads to this node's own disk, beside the training.

A process of its own, started by `pretrain.staging` on one rank of a node. It takes what to do as
one line of JSON, goes through the shards in the order of reading, and keeps the folder's lock until
it is asked to end (SIGTERM, or its parent's death). Then it tells what it did, as JSON. Nothing
that goes wrong here ends a training: it is told, and the shard itself is read instead.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.lifetime import die_with_parent
from workflow_scripts.loader.order import Order
from workflow_scripts.logs import log, start_logging
from workflow_scripts.shards.copy_folder import CopyFolder, NoRoom, Stopped, take
from workflow_scripts.shards.corpus import Corpus

MODULE = "workflow_scripts.loader.copier"
_POLL_SECONDS = 0.5
_NICE = 19  # what others leave of a core; all of one that is idle
_MOST_FAILURES = 10  # then the file system is at fault, and each read would be one more burden

Sources = dict[str, Path]  # shards by checksum, in the order of reading


def sources(request: dict[str, Any]) -> Sources:
    """The shards that the rest of a run reads, in that order.

    Args:
        request: `index` and `split` of the corpus, `order` as `Order` takes it, and `step`, the
            first one to come.
    """
    corpus = Corpus(request["index"], request["split"])
    order = Order(corpus.shard_sizes, **request["order"])
    rows = corpus.index["shards"]
    return {rows[n]["sha256"]: corpus.shards[n].path for n in order.shards_from(request["step"])}


class Copier:
    """Copies shards into a folder and counts.

    Args:
        folder: Where to; its lock is held.
        wanted: Which.

    Attributes:
        facts: `shards` that are read, how many of them were `copied`, how many `found` (another
            copier's, or an earlier segment's, which were verified again), and the `bytes` and
            `seconds` that copying took; then when it `ended` (seconds since 1970).
    """

    def __init__(self, folder: CopyFolder, wanted: Sources) -> None:
        self.folder, self.wanted, self._failures = folder, wanted, 0
        self.facts: dict[str, Any] = {
            "shards": len(wanted), "copied": 0, "found": 0, "bytes": 0, "seconds": 0.0
        }  # fmt: skip

    def run(self) -> None:
        """Go through the shards; what fails is told."""
        began = time.monotonic()
        waiting = deque(self.wanted)
        try:
            for sha256, source in self.wanted.items():
                waiting.popleft()
                self._bring(source, sha256, last=waiting)
        except NoRoom as error:
            missing = len(self.wanted) - self.facts["copied"] - self.facts["found"]
            warn(f"{error}; {missing} of {len(self.wanted)} shards are read where they are")
        except Stopped:
            pass
        self.facts["seconds"] = round(time.monotonic() - began, 3)

    def count(self) -> None:
        """See what another copier has brought."""
        self.facts["found"] = sum(self.folder.has(sha256) for sha256 in self.wanted)

    def _bring(self, source: Path, sha256: str, *, last: Collection[str]) -> None:
        if self.folder.has(sha256) or self.folder.keep(sha256):
            self.facts["found"] += 1
            return
        try:
            size = self.folder.copy(source, sha256, last=last)
        except NoRoom:
            raise
        except UserError as error:
            self._failures += 1
            warn(str(error))
            if self._failures == _MOST_FAILURES:
                raise NoRoom(f"{self._failures} shards could not be copied") from None
        else:
            self.facts["bytes"] += size
            self.facts["copied"] += 1

    def told(self) -> str:
        """What was done, in words."""
        facts = self.facts
        rate = facts["bytes"] / 1e9 / facts["seconds"] if facts["seconds"] else 0.0
        return (
            f"local copies: {facts['copied']} of {facts['shards']} shards copied and "
            f"{facts['found']} found in {self.folder.path}, in {facts['seconds']:.1f} s: "
            f"{facts['bytes'] / 1e9:.2f} GB, {rate:.2f} GB/s"
        )


def warn(what: str) -> None:
    """Tell, with the node's name, what keeps shards from being copied."""
    log.warning("local copies on %s: %s", socket.gethostname(), what)


class _Stop:
    """Asked for once SIGTERM came; warnings that are the trainer's are not heard."""

    def __init__(self) -> None:
        self.asked = False
        self._read, self._write = os.pipe()
        signal.signal(signal.SIGTERM, self._take)
        for number in (signal.SIGUSR1, signal.SIGINT):  # which Slurm sends to all of a step
            signal.signal(number, signal.SIG_IGN)

    def _take(self, _number: int, _frame: object) -> None:
        self.asked = True
        os.write(self._write, b".")

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for it, so long at most."""
        select.select([self._read], [], [], seconds)
        return self.asked


def _work(request: dict[str, Any], stop: _Stop) -> dict[str, Any]:
    """Copy, then keep the lock until the end; returns the facts."""
    folder = CopyFolder(Path(request["folder"]), most=request["most"], stopped=lambda: stop.asked)
    copier = Copier(folder, sources(request))
    while not (mine := take(request["lock"])) and not stop.wait(_POLL_SECONDS):
        pass  # another run's copier brings them meanwhile
    if mine:
        copier.run()
    else:
        copier.count()
    copier.facts["ended"] = time.time()
    if request["tell"]:
        log.info("%s", copier.told())
    stop.wait()
    return copier.facts


def main() -> None:
    """Do what the line on standard input says."""
    stop = _Stop()
    line = sys.stdin.readline()
    if not line:  # the parent is gone already
        return
    request = json.loads(line)
    die_with_parent(request["parent"], signal.SIGTERM)
    os.nice(_NICE)
    start_logging()
    try:
        facts: dict[str, Any] | None = _work(request, stop)
    except (UserError, OSError) as error:  # of the index, or of the node's own disk
        warn(f"{error}; shards are read where they are")
        facts = None
    with suppress(BrokenPipeError):  # nobody is left to hear it
        os.write(sys.stdout.fileno(), json.dumps(facts).encode())


if __name__ == "__main__":
    main()
