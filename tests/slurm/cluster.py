"""A real Slurm with two nodes on this machine, in one private folder, for tests.

Needs root and the Debian packages slurmctld, slurmd, slurmdbd, slurm-client, munge,
mariadb-server and debianutils. Nothing outside its folder is read or written, and the ports are
chosen free, so that several clusters can run side by side.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.slurm import daemons
from tests.slurm.daemons import Daemon
from tests.slurm.settings import ACCOUNT, NODES, Ports, write_settings

PROGRAMS = (
    "slurmctld", "slurmd", "slurmdbd", "munged", "mungekey", "mariadbd", "mariadb-install-db",
    "which", "setpriv",
)  # fmt: skip
CLIENTS = (
    "sacct", "sacctmgr", "sbatch", "sbcast", "scancel", "scontrol", "sinfo", "squeue", "srun",
    "sshare",
)  # fmt: skip
PREFIX = "orbweaver-slurm-"
OWNER = "owner"  # holds the id of the process that started the cluster
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# MariaDB reads one statement a line here.
DATABASE_USER = """\
CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON *.* TO slurm@'127.0.0.1';
"""


@dataclass(frozen=True)
class Job:
    """A job as Slurm tells of it: `state` in full words, `nodes` as Slurm writes a list."""

    id: int
    name: str
    state: str
    nodes: str


def missing() -> str:
    """What this machine lacks to run a Slurm; an empty text if nothing."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a Slurm of one's own needs Linux and root"
    lacking = [name for name in (*PROGRAMS, *CLIENTS) if not _found(name)]
    return f"a Slurm of one's own needs the programs {', '.join(lacking)}" if lacking else ""


def _found(program: str) -> str:
    return shutil.which(program, path=SYSTEM_PATH) or ""


def _clear(folder: Path) -> None:
    # Job processes may start others while they are being killed.
    while left := daemons.processes_with(str(folder)):
        daemons.kill(left)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Clear what is left of clusters whose tests were killed: jobs outlive their daemons."""
    place = Path(tempfile.gettempdir())
    with (place / f"{PREFIX}sweep.lock").open("a") as lock:
        # One at a time: who removes a folder has it open, and would be taken for one of its jobs.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for note in place.glob(f"{PREFIX}*/{OWNER}"):
            owner = note.read_text()
            if owner and not Path("/proc", owner).exists():
                _clear(note.parent)


class Cluster:
    """A Slurm that is being run; `with Cluster() as cluster:` starts and ends it."""

    nodes = NODES
    account = ACCOUNT

    def __init__(self) -> None:
        # Not pytest's folder: user munge must be able to reach its socket, and a socket's path
        # may have no more than 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.folder.chmod(0o755)
        (self.folder / OWNER).write_text(str(os.getpid()))
        controller, accounting, database, *nodes = daemons.free_ports(3 + len(NODES))
        self._ports = Ports(controller, accounting, database, tuple(nodes))
        self._daemons: dict[str, Daemon] = {}

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, led to this cluster; also `account` as the user's own."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
        folders = (self.folder / "bin", Path(sys.executable).parent, kept.get("PATH"), SYSTEM_PATH)
        return {
            **kept,
            "PATH": os.pathsep.join(str(folder) for folder in folders if folder),
            "SLURM_CONF": str(self.folder / "etc" / "slurm.conf"),
            "ORBWEAVER_TEST_CLUSTER": str(self.folder),  # by which its processes are found again
            "ORBWEAVER_ACCOUNT": self.account,
        }

    def __enter__(self) -> "Cluster":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # --- start and end ---------------------------------------------------------------------

    def start(self) -> None:
        """Start every daemon and wait until both nodes are idle.

        Raises:
            StartError: a daemon ended or does not answer; the message holds its log.
        """
        for name in ("log", "state", "spool", "bin"):
            (self.folder / name).mkdir()
        write_settings(self.folder, self._ports)
        self._write_clients()
        self._start_munge()
        self._start_database()
        self.start_accounting()
        self.run("sacctmgr", "-i", "add", "cluster", "frontier")
        self.run("sacctmgr", "-i", "add", "account", self.account, "cluster=frontier")
        self.run("sacctmgr", "-i", "add", "user", "root", f"account={self.account}")
        controller = self._start("slurmctld", "slurmctld", "-D", "-c")
        controller.wait_until(lambda: daemons.listens(self._ports.controller))
        for name in NODES:
            self._start(name, "slurmd", "-D", "-N", name)
        for name in NODES:
            self._daemons[name].wait_until(lambda name=name: self.node_state(name) == "IDLE")

    def stop(self) -> None:
        """End every daemon and every process of every job, and remove the folder."""
        for name in reversed(self._daemons):
            self._daemons[name].end(signal.SIGKILL)
        self._daemons.clear()
        _clear(self.folder)

    def _start(self, name: str, *command: str) -> Daemon:
        log = self.folder / "log" / f"{name}.log"
        environment = self.environment | {"ORBWEAVER_TEST_DAEMON": self._mark(name)}
        self._daemons[name] = Daemon(name, log, command, environment)
        return self._daemons[name]

    def _write_clients(self) -> None:
        """Slurm's commands for a rule's shell, from which Snakemake removes SLURM_CONF."""
        for name in CLIENTS:
            client = self.folder / "bin" / name
            setting = f"SLURM_CONF={self.folder}/etc/slurm.conf"
            client.write_text(f'#!/bin/sh\n{setting} exec {_found(name)} "$@"\n')
            client.chmod(0o755)

    def _mark(self, name: str) -> str:
        return f"{self.folder}/{name};"  # other clusters have nodes of the same name

    def _start_munge(self) -> None:
        home = self.folder / "munge"
        home.mkdir(mode=0o755)
        shutil.chown(home, "munge", "munge")
        options = {name: home / name for name in ("key-file", "pid-file", "log-file", "seed-file")}
        options["socket"] = home / "socket"
        words = [f"--{name}={path}" for name, path in options.items()]
        user = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups"]
        self.run(*user, "mungekey", "--create", f"--keyfile={home}/key-file")
        # The last setpriv is the one that counts: a change of user clears the death signal.
        command = [*user, "setpriv", "--pdeathsig", "KILL", "munged", "--foreground"]
        command += ["--num-threads=10", *words]
        self._start("munged", *command).wait_until((home / "socket").exists)

    def _start_database(self) -> None:
        home = self.folder / "database"
        # A server removes at its start what others have in a temporary folder that they share.
        temporary = self.folder / "temporary"
        temporary.mkdir()
        common = [
            "--no-defaults", f"--datadir={home}", f"--tmpdir={temporary}", "--user=root",
        ]  # fmt: skip
        self.run(
            "mariadb-install-db", *common, "--auth-root-authentication-method=normal",
            "--skip-test-db", "--skip-log-bin",
        )  # fmt: skip
        start = self.folder / "etc" / "database.sql"
        start.write_text(DATABASE_USER)
        self._start(
            "mariadbd", "mariadbd", *common, "--bind-address=127.0.0.1", "--skip-name-resolve",
            f"--init-file={start}", f"--port={self._ports.database}",
            f"--socket={self.folder}/database.socket", f"--pid-file={self.folder}/database.pid",
            "--innodb-flush-log-at-trx-commit=0",
        ).wait_until(lambda: daemons.listens(self._ports.database))  # fmt: skip

    # --- what happens to a cluster ---------------------------------------------------------

    def stop_accounting(self) -> None:
        """End slurmdbd: sacct and sacctmgr fail; jobs go on."""
        self._daemons["slurmdbd"].end()

    def start_accounting(self) -> None:
        """Start slurmdbd and wait until it answers."""
        accounting = self._start("slurmdbd", "slurmdbd", "-D")
        accounting.wait_until(lambda: daemons.listens(self._ports.accounting))

    def kill_node(self, name: str) -> None:
        """Kill a node with all that runs on it; Slurm finds it out after SlurmdTimeout."""
        # Those first who could tell Slurm of the end of the others: a dead node tells nothing.
        self._daemons[name].end(signal.SIGKILL)
        while stewards := daemons.processes_with(f"ORBWEAVER_TEST_DAEMON={self._mark(name)}"):
            tasks = daemons.descendants(stewards) - stewards
            daemons.kill(stewards)
            daemons.kill(tasks)
            time.sleep(0.05)

    def revive_node(self, name: str) -> None:
        """Start a killed node again and wait until Slurm uses it."""
        node = self._start(name, "slurmd", "-D", "-N", name)
        self.run("scontrol", "update", f"node={name}", "state=resume", check=False)
        node.wait_until(lambda: self.node_state(name) in ("IDLE", "ALLOCATED", "MIXED"))

    # --- what a cluster tells --------------------------------------------------------------

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the cluster's environment and return what it printed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command)}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
            )
        return done.stdout

    def node_state(self, name: str) -> str:
        """A node's state in one word, such as IDLE or DOWN; empty while no answer comes."""
        words = self.run("sinfo", "-h", "-N", "-n", name, "-p", "batch", "-o", "%T", check=False)
        return words.strip().rstrip("*~#$@+-").upper()

    def squeue(self) -> list[Job]:
        """Jobs that Slurm's controller still knows, also those that ended lately."""
        text = self.run("squeue", "--states=all", "--noheader", "--format=%i|%j|%T|%N")
        return [_job(line) for line in text.splitlines()]

    def sacct(self) -> list[Job]:
        """All jobs in the accounting database, without their steps."""
        form = "--format=JobIDRaw,JobName%64,State%64,NodeList%256"
        text = self.run("sacct", "-X", "--parsable2", "--noheader", "-S", "now-1days", form)
        return [_job(line) for line in text.splitlines()]

    def state(self, job: int) -> str:
        """State of a job in the controller, such as PENDING; empty if it knows it no more."""
        return next((row.state for row in self.squeue() if row.id == job), "")

    def wait_for(self, fact: Callable[[], bool], what: str, *, seconds: float = 300) -> None:
        """Wait until something is so; after `seconds` fail with `what` and the daemons' logs."""
        deadline = time.monotonic() + seconds
        while not fact():
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {seconds:.0f} s: {what}\n{self.logs()}")
            time.sleep(0.2)

    def logs(self, lines: int = 15) -> str:
        """The ends of all daemons' logs."""
        return "\n".join(daemon.tail(lines) for daemon in self._daemons.values())


def _job(line: str) -> Job:
    number, name, state, nodes = line.split("|")
    return Job(int(number), name, state, nodes)
