"""The shipped Frontier profile, made small enough for two pretended nodes and for impatient tests.

Only geometry, walltime, the signal's lead and how often Slurm is asked differ from what is shipped;
the account comes from the environment, as on the real machine.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

SHIPPED = ROOT / "profiles" / "frontier"
RANKS_A_NODE = 2
LEAD_S = 90  # Slurm looks every half minute whom to warn: the signal comes up to 30 s earlier
# The first look at a job comes after so many seconds, each further one ten seconds later.
IMPATIENCE = {"slurm-init-seconds-before-status-checks": 6, "max-status-checks-per-second": 1}


def write_profile(folder: Path, *, walltime_minutes: int | None = None) -> Path:
    """Write the derived profile into `folder` and return it, ready for `--profile`.

    Args:
        folder: Created; any name will do.
        walltime_minutes: Of every pretraining job in place of the configuration's `launch`.
    """
    folder.mkdir(parents=True)
    derived = derive(shipped(), walltime_minutes=walltime_minutes)
    (folder / "config.yaml").write_text(yaml.safe_dump(derived, sort_keys=False))
    return folder


def shipped() -> dict[str, Any]:
    """The profile as users get it."""
    return yaml.safe_load((SHIPPED / "config.yaml").read_text(encoding="utf-8"))


def derive(profile: dict[str, Any], *, walltime_minutes: int | None = None) -> dict[str, Any]:
    """The profile with the tests' geometry, walltime, lead and impatience."""
    sets = {rule: _small(values) for rule, values in profile["set-resources"].items()}
    for rule in ("pretrain", "features"):
        sets[rule]["tasks_per_node"] = RANKS_A_NODE
    if walltime_minutes:
        sets["pretrain"]["runtime"] = walltime_minutes
    defaults = {**profile["default-resources"], "runtime": 10}
    return {**profile, **IMPATIENCE, "default-resources": defaults, "set-resources": sets}


def _small(values: dict[str, Any]) -> dict[str, Any]:
    cores = {"cpus_per_task": 1} if "cpus_per_task" in values else {}
    extra = values.get("slurm_extra")
    lead = {"slurm_extra": re.sub(r"USR1@\d+", f"USR1@{LEAD_S}", extra)} if extra else {}
    return {**values, **cores, **lead}
