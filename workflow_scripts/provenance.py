"""Where and when a result was made: kept beside the result, never inside it."""

import datetime
import functools
import importlib.metadata
import json
import os
import platform
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_object

_STARTED = time.time()
_PACKAGES = (
    "h5py", "numpy", "pillow", "pyhdf", "safetensors", "scikit-learn", "snakemake", "timm", "torch",
    "torchvision", "xarray",
)  # fmt: skip
# What readers take from such a file, and from each of a run's `segments` in it, where it is there.
_TEXTS = ("host", "machine", "started", "git_commit", "energy_counter")
_STEPS = ("start_step", "end_step")
_NUMBERS = (
    "seconds", "energy_j", "watts", "images_per_s", "tflops", "mfu", "rank_peak_memory_bytes",
    "device_peak_memory_bytes",
)  # fmt: skip


@functools.cache
def git_commit() -> str | None:
    """The commit of the code that runs, with `-dirty` when files differ; None outside git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_memory_bytes() -> int:
    """The largest resident size this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def provenance(**extra: Any) -> dict[str, Any]:
    """Host, times, versions, commit and job of this process, with a stage's own `extra` facts."""
    now = time.time()
    started = datetime.datetime.fromtimestamp(_STARTED, datetime.UTC)
    return {
        "host": socket.gethostname(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "started": started.isoformat("T", "seconds"),
        "seconds": round(now - _STARTED, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "git_commit": git_commit(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "versions": versions(),
        **extra,
    }


def read_provenance(path: Path, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """Read the provenance file of a result.

    Args:
        path: The file.
        kinds: Keys that it has to have, and of which type.

    Raises:
        UserError: There is none, or it is not as a job wrote it.
    """
    found = read_object(path, **kinds)
    versions, segments = found.get("versions") or {}, found.get("segments") or []
    if not isinstance(versions, dict) or not all(isinstance(v, str) for v in versions.values()):
        raise _changed(path, "versions", versions)
    if not isinstance(segments, list) or not all(isinstance(row, dict) for row in segments):
        raise _changed(path, "segments", segments)
    for row in (found, *segments):
        for keys, kind in ((_TEXTS, str | None), (_STEPS, int), (_NUMBERS, int | float | None)):
            for key in keys:
                if key in row and not (isinstance(row[key], kind) and _is_finite(row[key])):
                    raise _changed(path, key, row[key])
    return found


def _is_finite(value: Any) -> bool:
    return not isinstance(value, int | float) or abs(value) < sys.float_info.max


def _changed(path: Path, key: str, seen: Any) -> UserError:
    return UserError(
        f"{path}: {key!r} holds {json.dumps(seen)[:60]}, which no job wrote; delete the file and "
        "the result beside it, and make both again"
    )
