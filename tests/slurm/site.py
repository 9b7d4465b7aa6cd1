"""A copy of the workflow on a site: the pretended Frontier of `cluster`."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.slurm.cluster import Cluster
from tests.slurm.profile import write_profile
from tests.workspace import Workspace

# Put behind the copy's job states, which drivers alone use: the Slurm plugin asks ever more seldom
# how jobs are, in the end every three minutes, until one ends well.
SOON = """

_translate = translate_states


def translate_states() -> None:
    import asyncio

    from snakemake_executor_plugin_slurm import Executor

    _translate()
    Executor.sleep = lambda self: asyncio.sleep(2)
"""
# What stands for the site's `module`, which envs/frontier.sh calls.
MODULES = "module() { :; }\n"


class Site(Workspace):
    """The workflow in `folder`, with a configuration of tests/slurm/ and the derived profile."""

    def __init__(self, folder: Path, cluster: Cluster, config: str) -> None:
        super().__init__(folder)
        self.cluster = cluster
        self.config = config
        text = (ROOT / "tests" / "slurm" / config).read_text(encoding="utf-8")
        (folder / config).write_text(text, encoding="utf-8")
        (folder / "modules.sh").write_text(MODULES, encoding="utf-8")
        self.append("workflow_scripts/job_states.py", SOON)
        self.profile = write_profile(folder / "profiles" / "two-nodes")

    def append(self, file: str, text: str) -> None:
        """Put a text behind a file of the copy."""
        path = self.folder / file
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """The cluster's environment for a copy of the workflow."""
        return {
            **self.cluster.environment,
            **super().environment,
            "PATH": self.cluster.environment["PATH"],
            "ORBWEAVER_PARTITION": "batch",
            # What envs/frontier.sh finds on the real machine.
            "ORBWEAVER_PROJECT": str(self.folder),
            "ORBWEAVER_NVME": str(self.folder),
            "GLOO_SOCKET_IFNAME": "lo",
            "USER": "root",
            "BASH_ENV": str(self.folder / "modules.sh"),
        }

    def here(self, *targets: str) -> None:
        """Make targets on this machine, without Slurm."""
        self.run(sys.executable, "-m", "snakemake", *targets, "--configfile", self.config)

    def drive(self, log: str, *command: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a driver whose messages go to a file; it is killed when the tests are."""
        with (self.folder / log).open("wb") as file:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], cwd=self.folder,
                env=self.environment | variables, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip

    def submit(self, log: str, *targets: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a driver that has Slurm make targets."""
        words = ("--profile", str(self.profile), "--configfile", self.config)
        return self.drive(log, sys.executable, "-m", "snakemake", *targets, *words, **variables)

    def text(self, log: str) -> str:
        """The end of a driver's messages."""
        return (self.folder / log).read_text(encoding="utf-8", errors="replace")[-8000:]

    def place(self, run: str) -> Path:
        """The folder of a run."""
        return self.folder / "results" / "runs" / run

    def checkpoints(self, run: str) -> Path:
        """The only folder of checkpoints that a run has."""
        found = list((self.place(run) / "checkpoints").glob("*"))
        assert len(found) == 1, f"{run}: {found}"
        return found[0]
