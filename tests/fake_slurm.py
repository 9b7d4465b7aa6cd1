"""Stand-ins for Slurm's commands: small programs on PATH that print what a test tells them to."""

import os
import stat
from pathlib import Path


def program(folder: Path, name: str, script: str) -> None:
    """Write an executable shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{name}"
    new.write_text(f"#!/bin/sh\n{script}\n")
    new.chmod(new.stat().st_mode | stat.S_IXUSR)
    new.rename(folder / name)  # never half of it: it may just be run


def squeue(folder: Path, *lines: str) -> str:
    """Make a squeue that prints these lines; returns a PATH on which it is first."""
    text = "".join(f"{line}\n" for line in lines)
    program(folder / "bin", "squeue", f"/bin/cat <<'END'\n{text}END")
    return f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"


def line(
    number: int, place: Path, comment: str, *, state: str = "RUNNING", nodes: str = "2",
    start: str = "2026-11-21T12:30:00", end: str = "2026-11-21T14:30:00", reason: str = "None",
) -> str:  # fmt: skip
    """One job as squeue prints it in the format that is asked for."""
    submitted = "2026-11-21T12:00:00"
    return "|".join((str(number), state, nodes, submitted, start, end, reason, str(place), comment))
