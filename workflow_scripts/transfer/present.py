"""Files that lie there already: read once, and known again by size and time."""

from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.transfer.hashing import Digests
from workflow_scripts.transfer.notes import read_note, write_note
from workflow_scripts.transfer.remote import Received, Remote

_TOLD_FROM_BYTES = 2**30


class Mismatch(Exception):
    """A file is not the one that was expected; the text says what was seen and expected."""


def verified(path: Path, remote: Remote) -> Received:
    """A file that lies there, compared with what is known of it.

    What was found is remembered in `.<name>.verified` beside the file, by size and modification
    time, if that folder is writable: then the file is not read again until it changes.

    Args:
        path: The file.
        remote: What it should be; without a size or checksum every file will do.

    Raises:
        UserError: It is missing, or is not the one; names seen and expected.
    """
    try:
        return compared(path, remote)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Mismatch as mismatch:
        raise UserError(
            f"{path}: {mismatch}; it is not used: replace it by the right file, or remove it"
        ) from None


def compared(path: Path, remote: Remote) -> Received:
    """As `verified`.

    Raises:
        FileNotFoundError: There is no such file.
        Mismatch: It is not the one.
    """
    status = path.stat()
    if not path.is_file():
        raise Mismatch("is no file")
    check({}, status.st_size, remote)
    digests = _remembered(path)
    if digests is None or not set(algorithms(remote)) <= set(digests):
        digests = _read(path, algorithms(remote))
        after = path.stat()
        if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            raise Mismatch("it changed while it was read")
        remember(path, digests)
    check(digests, status.st_size, remote)
    return Received(name=remote.name, path=path, bytes=status.st_size, sha256=digests["sha256"])


def algorithms(remote: Remote) -> tuple[str, ...]:
    """The digests that are made of a file: SHA-256 always, and MD5 if only that is published."""
    return ("sha256", "md5") if remote.md5 else ("sha256",)


def check(digests: dict[str, str], size: int, remote: Remote) -> None:
    """Compare the size, and such digests as are given, with those that are known.

    Raises:
        Mismatch: One differs.
    """
    if remote.bytes not in (None, size):
        raise Mismatch(f"it has {size} bytes, expected {remote.bytes}")
    for name, expected in (("sha256", remote.sha256), ("md5", remote.md5)):
        if expected and digests.get(name, expected.lower()) != expected.lower():
            raise Mismatch(f"its {name} is {digests[name]}, expected {expected.lower()}")


def remember(path: Path, digests: dict[str, str]) -> None:
    """Note the digests of a file as it is now, if its folder can be written to."""
    status = path.stat()
    seen = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, **digests}
    try:
        write_note(_memory(path), seen)
    except OSError as error:
        log.debug("%s: what was verified is not remembered (%s)", path, error.strerror)


def _memory(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")


def _remembered(path: Path) -> dict[str, str] | None:
    """The digests of a file from before, if it has not changed since."""
    note, status = read_note(_memory(path)), path.stat()
    if (note.get("size"), note.get("mtime_ns")) != (status.st_size, status.st_mtime_ns):
        return None
    return {name: note[name] for name in ("sha256", "md5") if isinstance(note.get(name), str)}


def _read(path: Path, names: tuple[str, ...]) -> dict[str, str]:
    size = path.stat().st_size
    if size >= _TOLD_FROM_BYTES:
        log.info("%s: reading %.1f GB to verify it", path, size / 1e9)
    with path.open("rb", buffering=0) as file, Digests(file.fileno(), names, size) as digests:
        return digests.result()
