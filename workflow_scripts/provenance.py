"""Where and when a result was made: kept beside the result, never inside it."""

import datetime
import functools
import importlib.metadata
import os
import platform
import resource
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

_STARTED = time.time()
_PACKAGES = (
    "h5py", "numpy", "pillow", "pyhdf", "safetensors", "scikit-learn", "snakemake", "timm", "torch",
    "torchvision", "xarray",
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
