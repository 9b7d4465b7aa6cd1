"""Tiny runs on a real Slurm, whose trainers creep until a test has disturbed them."""

import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

from tests.slurm.cluster import Cluster
from tests.slurm.site import Site
from workflow_scripts.files import read_json
from workflow_scripts.pretrain.history import read_lines

# Put behind the copy's watchdog, which no result depends on: while a file `slow` lies in the run's
# folder, a step takes a second, so that a test can act in mid-segment on a machine of any speed.
SLOWLY = """

def _slowly(at: Any, run: Path = Path(sys.argv[sys.argv.index("--run") + 1])) -> Any:
    def _at(self: Any, phase: str, step: int) -> None:
        at(self, phase, step)
        if phase == "in the training step" and (run / "slow").exists():
            time.sleep(1)

    return _at


Watchdog.at = _slowly(Watchdog.at)
"""
LOOK_S = 30  # seconds between two looks of Slurm for jobs whose time is nearly up
LEAVE_S = 30  # that a busy machine takes from the warning until both Snakemakes of a job have ended
SPEEDS = {"images_per_s", "data_wait", "seconds", "tflops", "mfu", "peak_memory_bytes", "energy_j"}
Driver = subprocess.Popen[bytes]


class Runs(Site):
    """The site with the runs of `faults.yaml`; at the end nothing of theirs is left on it."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        super().__init__(folder, cluster, "faults.yaml")
        self.append("workflow_scripts/pretrain/watchdog.py", SLOWLY)
        self._drivers: list[Driver] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """End what a failure has left."""
        for driver in self._drivers:
            kill(driver)
        self.cluster.run("scancel", "--user=root")

    def drive(self, log: str, *command: str, **variables: str) -> Driver:
        """Start a driver whose messages go to a file."""
        self._drivers.append(super().drive(log, *command, **variables))
        return self._drivers[-1]

    def wait_for(self, fact: Callable[[], bool], what: str) -> None:
        """Wait until something is so, as long as the last driver lives."""
        driver = self._drivers[-1]

        def so() -> bool:
            ended = driver.poll()  # first: the fact may be why it has ended
            if fact():
                return True
            assert ended is None, f"the driver ended, and not yet: {what}\n{self.messages()}"
            return False

        self.cluster.wait_for(so, what, seconds=1200)

    def messages(self) -> str:
        """The ends of what all drivers said."""
        logs = sorted(path.name for path in self.folder.glob("*.log"))
        return "\n".join(f"--- {log}\n{self.text(log)}" for log in logs)

    # --- how a run is held up and looked at ------------------------------------------------

    def slow_down(self, run: str) -> None:
        """Let a run creep."""
        self.place(run).mkdir(parents=True, exist_ok=True)
        (self.place(run) / "slow").touch()

    def let_go(self, run: str) -> None:
        """Let it run at its own speed."""
        (self.place(run) / "slow").unlink()

    def end_time_soon(self, job: int) -> None:
        """Bring the limit of a job that trains forward to where Slurm warns it at its next look.

        A limit as short from the beginning would be over before ranks on a slow machine train.
        """
        minutes, seconds = self.cluster.run("squeue", "-h", "-j", str(job), "-o", "%M").split(":")
        used = 60 * int(minutes) + int(seconds)
        limit = math.ceil((used + LOOK_S + LEAVE_S) / 60)  # whole minutes are all that Slurm knows
        self.cluster.run("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")

    def trainers(self, run: str) -> list[psutil.Process]:
        """The ranks that train a run just now."""
        ours = (str(self.folder), f"results/runs/{run}")
        return [one for one in psutil.process_iter(["cmdline", "cwd"]) if _is_rank(one, *ours)]

    def has_checkpoint(self, run: str) -> bool:
        """Whether a run has saved one."""
        return any((self.place(run) / "checkpoints").glob("*/step-*"))

    def ended(self, run: str, number: int) -> bool:
        """Whether a segment has ended well."""
        return (self.place(run) / "segments" / f"{number}.json").exists()

    def trains(self, run: str, number: int) -> bool:
        """Whether a segment of a run, not its first, has saved a checkpoint and not ended."""
        if not self.ended(run, number - 1) or self.ended(run, number):
            return False
        begun = self.segment(run, number - 1)["end_step"]
        names = [path.name for path in self.checkpoints(run).glob("step-*")]
        return any(int(name.removeprefix("step-")) > begun for name in names)

    # --- what is left of a run -------------------------------------------------------------

    def curve(self, run: str) -> list[dict[str, Any]]:
        """The rows of a run's curve, without what depends on the machine's speed."""
        rows = read_lines(self.checkpoints(run) / "history.jsonl")
        return [{name: row[name] for name in row if name not in SPEEDS} for row in rows]

    def segment(self, run: str, number: int) -> dict[str, Any]:
        """What a segment says of itself."""
        return read_json(self.place(run) / "segments" / f"{number}.json")

    def jobs(self, run: str, number: int = 1) -> list[int]:
        """Slurm's jobs of a segment, in their order, by the logs that Slurm wrote."""
        logs = (self.folder / "logs" / "slurm" / "rule_pretrain" / f"{run}_{number}").glob("*.log")
        return sorted(int(path.stem) for path in logs)

    def log_of(self, run: str, job: int, number: int = 1) -> str:
        """What the trainer of a job said."""
        path = self.folder / "logs" / "pretrain" / run / f"{number}.attempts" / f"{job}.log"
        return path.read_text(encoding="utf-8")

    def how_ended(self, job: int) -> str:
        """A job's state in the accounting, in one word."""
        (state,) = [row.state for row in self.cluster.sacct() if row.id == job]
        return state.split()[0]

    def steps(self, job: int) -> list[str]:
        """The steps of a job: its script, and what srun started."""
        words = ("sacct", "--parsable2", "--noheader", "--format=JobID", "-j", str(job))
        return [line.split(".")[1] for line in self.cluster.run(*words).split() if "." in line]


def _is_rank(process: psutil.Process, folder: str, run: str) -> bool:
    words = process.info["cmdline"] or [""]
    return words[0].endswith("python") and run in words and process.info["cwd"] == folder


def kill(driver: Driver) -> None:
    """End a driver with SIGKILL, as a login node that goes down; Slurm's jobs stay."""
    driver.kill()
    driver.wait()
