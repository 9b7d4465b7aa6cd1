"""A copy of the workflow in a folder of its own, for tests that run, edit or kill it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import ROOT
from workflow_scripts.planned import planned_jobs

COPIED = (
    "Snakefile", "config.yaml", "CITATION.cff", "LICENSE", "rules", "profiles", "envs",
    "workflow_scripts",
)  # fmt: skip


class Workspace:
    """The workflow copied to `folder`, with the tiny configuration in `tiny.yaml`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / name)
        shutil.copy(ROOT / "tests" / "tiny.yaml", folder / "tiny.yaml")
        self._photos()

    def _photos(self) -> None:
        random = np.random.default_rng(0)
        for name in ("bright", "dark"):
            place = self.folder / "photos" / name
            place.mkdir(parents=True)
            for number in range(8):
                pixels = random.integers(0, 120, (24, 24, 3), np.uint8) + 120 * (name == "bright")
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.jpg")

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment without what could lead the copy elsewhere.

        And without what keeps Python from storing compiled modules: Snakemake is started often, and
        would be compiled each time.
        """
        left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        kept = {k: v for k, v in os.environ.items() if k not in left_out}
        path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
        return {**kept, "PATH": path, "OMP_NUM_THREADS": "1"}

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder and return what it printed."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True,
            check=False, timeout=1800,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
        return done

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake with the tiny configuration."""
        words = ("--configfile", "tiny.yaml")
        return self.run(sys.executable, "-m", "snakemake", *arguments, *words, check=check)

    def planned(self, *arguments: str) -> set[str]:
        """Titles of the jobs that would run, less the target itself."""
        done = self.snakemake("all", "-n", *arguments)
        jobs = planned_jobs(done.stdout + done.stderr)
        return {job.title for job in jobs if job.outputs}

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that must be there."""
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} holds no {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def results(self) -> dict[str, bytes]:
        """Content of every result that is the same whenever and wherever it is made."""
        kept = {}
        for top in ("data", "results"):
            for path in sorted((self.folder / top).rglob("*")):
                name = str(path.relative_to(self.folder))
                if path.is_file() and not _varies(path, name):
                    kept[name] = _content(path)
        return kept


# Tables of the report that hold times, speeds or machines.
_MEASURED_TABLES = {"stages", "jobs", "environment", "runs", "co2", "arp"}


def _varies(path: Path, name: str) -> bool:
    """Whether a file tells of one run alone: provenance, records, speeds, checkpoints, the page."""
    return (
        path.name.startswith(".")
        or ".provenance." in path.name
        or "/records/" in name
        or "/checkpoints/" in name
        or path.name in ("report.html", "report.json", "README.md", "identity.json", "run.json")
        or path.name in ("mllog.txt", "power.jsonl", "ro-crate-metadata.json")
        or ("/figures/" in name and path.name.startswith(("run_", "power_", "energy_accuracy")))
        or ("/tables/" in name and path.stem in _MEASURED_TABLES)
    )


def _content(path: Path) -> bytes:
    if path.name != "history.jsonl":
        return path.read_bytes()
    speed = {"images_per_s", "data_wait", "seconds", "tflops", "mfu"}
    speed |= {"peak_memory_bytes", "energy_j"}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if k not in speed} for row in rows]
    return json.dumps(kept).encode()
