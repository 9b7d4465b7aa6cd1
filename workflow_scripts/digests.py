"""Canonical JSON and sha256: how recipes, files and corpora are compared."""

import hashlib
import json
from pathlib import Path
from typing import Any

_PIECE = 2**24


def canonical(value: Any) -> str:
    """JSON text that is equal exactly when the values are: keys sorted, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """Hexadecimal sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes, read in pieces.

    The pieces are large: in a thread beside a library that keeps the interpreter's lock, each
    costs a wait for it.
    """
    total, piece = hashlib.sha256(), bytearray(_PIECE)
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(piece):
            total.update(memoryview(piece)[:read])
    return total.hexdigest()
