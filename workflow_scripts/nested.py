"""Ask Snakemake itself, from one of its jobs or from a shell, with the merged configuration."""

import os
import subprocess
import tempfile
from pathlib import Path

from workflow_scripts.config_check import ROOT
from workflow_scripts.driver import CONFIG_VARIABLE, command
from workflow_scripts.errors import UserError


def ask_snakemake(*arguments: str) -> str:
    """What `snakemake <arguments>` prints (standard output, then standard error).

    In a job of the workflow its configuration is handed on; in a shell it is the default.

    Args:
        *arguments: Such as `all`, `-n`; must not run jobs.

    Raises:
        UserError: Snakemake refused; with its own words.
    """
    config_json = os.environ.get(CONFIG_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        extra: list[str] = []
        if config_json is not None:
            file = Path(folder) / "config.yaml"
            file.write_text(config_json, encoding="utf-8")
            extra = ["--configfile", str(file)]
        snakefile = ["--snakefile", str(ROOT / "Snakefile"), "--nocolor"]
        done = subprocess.run(
            command(*arguments, *snakefile, *extra), capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise UserError(f"snakemake {' '.join(arguments)} failed:\n{done.stderr.strip()}")
    return done.stdout + done.stderr
