"""Processes of a cluster: started so that they die with the tests, found again, ended for sure."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path


class StartError(Exception):
    """A daemon ended or did not answer in time; the message holds the end of its log."""


class Daemon:
    """One daemon in the foreground, its log in a file; it dies when this process dies."""

    def __init__(
        self, name: str, log: Path, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], env=dict(environment),
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 300) -> None:
        """Wait until it answers.

        Raises:
            StartError: it ended before, or did not answer in time.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive:
                code = self._process.returncode
                raise StartError(f"{self.name} ended with code {code}:\n{self.tail()}")
            if time.monotonic() > deadline:
                text = f"{self.name} did not answer in {seconds:.0f} s:\n{self.tail()}"
                raise StartError(text)
            time.sleep(0.05)

    def end(self, sign: signal.Signals = signal.SIGTERM, *, seconds: float = 10) -> None:
        """Send a signal, and after `seconds` SIGKILL; return when it is gone."""
        if self.alive:
            self._process.send_signal(sign)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.log}\n" + "\n".join(text.splitlines()[-lines:])


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those the system hands out by itself.

    Processes look in different places: nothing keeps a port from being taken until it is used.
    """
    found: list[int] = []
    candidates = (20000 + (10 * os.getpid() + number) % 10000 for number in range(10000))
    while len(found) < count:
        port = next(candidates)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def processes_with(mark: str) -> set[int]:
    """Processes, other than this one, in whose environment or open files `mark` occurs."""
    return {pid for pid in _processes() if pid != os.getpid() and _bears(pid, mark)}


def descendants(roots: Iterable[int]) -> set[int]:
    """These processes and all that they started and that have not been orphaned since."""
    parents = {pid: _parent(pid) for pid in _processes()}
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def kill(pids: Iterable[int]) -> None:
    """SIGKILL; those that are gone already are none of our business."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _bears(pid: int, mark: str) -> bool:
    place = Path("/proc") / str(pid)
    try:
        if mark.encode() in (place / "environ").read_bytes():
            return True
        return any(mark in os.readlink(file) for file in (place / "fd").iterdir())
    except OSError:  # it ended while we looked
        return False


def _parent(pid: int) -> int:
    try:
        status = (Path("/proc") / str(pid) / "status").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))
