"""How long things last: processes end with their parent, and unflushed bytes with the machine."""

import ctypes
import os
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel end this process, with that signal, when its parent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def boot_id() -> str | None:
    """Names the time since the machine was started; None where the kernel does not tell.

    What a process wrote and did not flush is there as long as this stays the same.
    """
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return None
