"""The note beside a day's manifest that the source did not give what it had listed."""

from pathlib import Path


def ask_again(manifest: Path) -> Path:
    """The note of a day: while it is there, `relist` asks for the day though it was complete.

    The day's tile job leaves it when a download fails, and removes it when all has come.
    """
    return manifest.with_suffix(".again")
