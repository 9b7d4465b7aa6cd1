"""The folder of a corpus's copies on a node: `<stage_to>/orbweaver-<user>/<content>`.

Whoever holds the lock of such a folder is its one copier, and stays that to the end of its segment.
It sets aside what earlier ones left until it has verified it anew, and takes room from copies of
other corpora that nobody holds. Nothing outside `orbweaver-<user>` is ever touched.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.shards.copies import VERIFIED, copy_name

_LOCK = ".lock"
_PIECE = 2**23
_KEPT_FREE = 0.05  # share of the disk: environments, compilers' caches and logs lie there too


class NoRoom(UserError):
    """The disk is full, or cannot be written to: no further copy has a chance."""


class Stopped(Exception):
    """The copier is to end."""


class CopyFolder:
    """One corpus's copies on this node.

    Args:
        path: The folder, as `own_folder` gives it.
        most: Bytes that the copies of all corpora may take together; None: what the disk has.
        stopped: Asked between two pieces; once it says True, `Stopped` is raised.
    """

    def __init__(
        self, path: Path, *, most: float | None = None, stopped: Callable[[], bool] = bool
    ) -> None:
        self.path, self.most, self.stopped = path, most, stopped
        self._piece = bytearray(_PIECE)

    def has(self, sha256: str) -> bool:
        """Whether there is a verified copy of the shard with that checksum."""
        return (self.path / copy_name(sha256)).is_file()

    def keep(self, sha256: str) -> bool:
        """Verify what was left of a shard; True if it may be read again, else it is removed.

        Raises:
            Stopped: Before it was known.
        """
        left = self._left(sha256)
        if not left.is_file():
            return False
        try:
            total = hashlib.sha256()
            for piece in self._pieces(left):
                total.update(piece)
            if total.hexdigest() == sha256:
                self._publish(left, sha256)
                return True
        except (UserError, OSError):
            pass  # what cannot be read is of no use
        left.unlink(missing_ok=True)
        return False

    def copy(self, source: Path, sha256: str, *, last: Collection[str] = ()) -> int:
        """Copy a shard, comparing it with its checksum; returns its size in bytes.

        Where there is no room the copies of idle corpora go first, then unverified remains.

        Args:
            source: The shard.
            sha256: Its checksum.
            last: Those of shards that are yet to come; the remains of the last of them go first.

        Raises:
            UserError: It cannot be read, or is not what was packed; nothing is left of it here.
            NoRoom: It does not fit, or cannot be written.
            Stopped: In the middle; nothing is left of it here.
        """
        temporary = self.path / f".{sha256}.tmp"
        total, size = hashlib.sha256(), 0
        try:
            self._make_room(self._size(source), last=last)
            with temporary.open("wb", buffering=0) as file:
                for piece in self._pieces(source):
                    total.update(piece)
                    size += len(piece)
                    while piece:
                        piece = piece[file.write(piece) :]
                os.fsync(file.fileno())
            if total.hexdigest() != sha256:
                raise UserError(
                    f"{source}: sha256 {total.hexdigest()}, expected {sha256}; it is not copied. "
                    "`python -m workflow_scripts.pack --verify <index.json>` tells what is damaged"
                )
            self._publish(temporary, sha256)
        except OSError as error:
            raise NoRoom(f"{temporary}: cannot be written ({error.strerror})") from None
        finally:
            temporary.unlink(missing_ok=True)
        return size

    def _left(self, sha256: str) -> Path:
        return self.path / f".{sha256}.left"

    def _pieces(self, path: Path) -> Iterator[memoryview]:
        """The bytes of a file; what cannot be read is a UserError."""
        try:
            with path.open("rb", buffering=0) as file:
                while read := file.readinto(self._piece):
                    if self.stopped():
                        raise Stopped
                    yield memoryview(self._piece)[:read]
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); not copied") from None

    def _publish(self, file: Path, sha256: str) -> None:
        os.utime(file, ns=(VERIFIED, VERIFIED))
        file.chmod(0o400)
        file.rename(self.path / copy_name(sha256))

    def _size(self, path: Path) -> int:
        try:
            return path.stat().st_size
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); not copied") from None

    def _make_room(self, size: int, *, last: Collection[str]) -> None:
        idle = self._idle_corpora()
        unneeded = list(self.path.glob(".*.left"))
        rank = {self._left(sha256): number for number, sha256 in enumerate(last)}
        unneeded.sort(key=lambda path: rank.get(path, len(rank)))  # those of no shard go first
        while lack := self._lack(size):
            if next(idle, None) is not None:
                continue
            if not unneeded:
                raise NoRoom(f"{self.path}: {lack}")
            unneeded.pop().unlink(missing_ok=True)

    def _lack(self, size: int) -> str:
        """What keeps a file from fitting; empty if it fits."""
        disk = shutil.disk_usage(self.path)
        free = disk.free - _KEPT_FREE * disk.total
        if size > free:
            return f"room for {max(0, free) / 1e9:.2f} GB on this disk, {size / 1e9:.2f} needed"
        taken = sum(map(self._size, _files(self.path.parent))) if self.most else 0
        if self.most and taken + size > self.most:
            return f"{taken / 1e9:.2f} of {self.most / 1e9:.2f} GB used, {size / 1e9:.2f} needed"
        return ""

    def _idle_corpora(self) -> Iterator[Path]:
        """Remove the copies of one corpus after the other that no copier holds."""
        for folder in sorted(self.path.parent.iterdir()):
            if folder == self.path or not folder.is_dir():
                continue
            with _locked(folder) as lock:
                if lock is not None:
                    for file in _files(folder):
                        file.unlink(missing_ok=True)
                    yield folder


def _files(folder: Path) -> list[Path]:
    """Copies, whole or not, in a folder or below it."""
    names = ("*.h5", ".*.left", ".*.tmp")
    return [path for name in names for path in folder.rglob(name) if path.is_file()]


def own_folder(stage_to: str, content: str) -> Path:
    """Where the copies of a corpus are on this node.

    Args:
        stage_to: A folder; environment variables in it are those of this node.
        content: Digest of the corpus's content.

    Raises:
        UserError: A variable is not set.
    """
    expanded = os.path.expandvars(stage_to)
    if "$" in expanded:
        raise UserError(f"{stage_to}: a variable in it is not set here")
    return Path(expanded) / f"orbweaver-{os.getuid()}" / content[:16]


def prepare(folder: Path) -> int:
    """Make a corpus's folder, and become its copier if there is none.

    The new copier sets aside what was left, so that from here on nothing unverified is read.

    Args:
        folder: As `own_folder` gives it; that which holds all of ours must be there.

    Returns:
        Descriptor of the folder's lock, held or not: `wait_for_lock` tells.

    Raises:
        UserError: The folder is missing, another user's, or cannot be written.
    """
    top = folder.parent.parent
    if not top.is_dir():
        raise UserError(f"{top}: no such folder; it has to be there")
    try:
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        if folder.parent.stat().st_uid != os.getuid():
            raise UserError(f"{folder.parent}: belongs to another user; remove it")
        folder.mkdir(exist_ok=True)
        lock = _lock_of(folder)
        if take(lock):
            _set_aside(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be used ({error.strerror})") from None
    return lock


def _set_aside(folder: Path) -> None:
    for path in folder.glob(".*.tmp"):
        path.unlink()
    for path in folder.glob("*.h5"):
        path.rename(path.with_name(f".{path.stem}.left"))


def _lock_of(folder: Path) -> int:
    return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)


def take(lock: int) -> bool:
    """Take a lock, or find that it is held already by this one; False if another holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[int | None]:
    """The lock of another corpus's folder while the block runs, None if somebody holds it."""
    lock = _lock_of(folder)
    try:
        yield lock if take(lock) else None
    finally:
        os.close(lock)
