"""What the `path` of a manifest's item stands for: a file, or a member of an archive."""

import hashlib
from io import BufferedReader
from pathlib import Path


def open_stored(path: str) -> BufferedReader:
    """Open what a manifest's path stands for, to read its bytes once from the start."""
    return Path(path).open("rb")


def read_stored(path: str) -> bytes:
    """All bytes of what a manifest's path stands for."""
    with open_stored(path) as file:
        return file.read()


def digest_stored(path: str) -> tuple[str, int]:
    """Hexadecimal sha256 and size of what a manifest's path stands for."""
    with open_stored(path) as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        return checksum, file.tell()
