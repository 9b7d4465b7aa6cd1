"""AMD's GPUs by the command `rocm-smi`, where its library's Python module is not installed.

The command takes a good part of a second, so a thread runs it now and then and readers get what it
said last: at most `READ_EVERY` seconds old.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from workflow_scripts.energy.counters.kinds import Counter, Gauge, Load, number

READ_EVERY = 30.0  # seconds
_LIMIT = 20.0  # seconds for the command
_MISSED = 4  # readings in a row after which what was read last is too old to be told
_COMMAND = ("rocm-smi", "--showbus", "--showenergycounter", "--showuse", "--showmeminfo", "vram",
            "--json")  # fmt: skip


def told(limit_s: float = _LIMIT) -> dict[str, Any]:
    """What the command says of every device, by their names (`card0`).

    Raises:
        OSError: It is not there.
        subprocess.SubprocessError: It failed, or took too long.
        ValueError: It did not print JSON.
    """
    done = subprocess.run(
        _COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s,
        check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout[done.stdout.find("{") :]))  # warnings may stand before it


def _of(pci: str, cards: dict[str, Any]) -> dict[str, Any]:
    """What was said of the device at a place.

    Raises:
        KeyError: Nothing was.
    """
    for card in cards.values():
        if isinstance(card, dict) and str(card.get("PCI Bus", "")).lower() == pci[-12:].lower():
            return card
    raise KeyError(pci)


class _Kept:
    """The last answer about a device, asked for again and again in the background."""

    def __init__(self, pci: str, ask: Callable[[], dict[str, Any]], period_s: float) -> None:
        self._pci, self._ask, self._period = pci, ask, period_s
        self._card, self._at = _of(pci, ask()), time.monotonic()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        missed = 0
        while missed < _MISSED:
            time.sleep(self._period)
            try:
                self._card, self._at = _of(self._pci, self._ask()), time.monotonic()
                missed = 0
            except (OSError, subprocess.SubprocessError, ValueError, KeyError):
                missed += 1

    def card(self) -> dict[str, Any]:
        """What was said last.

        Raises:
            TimeoutError: That is too long ago.
        """
        if time.monotonic() - self._at > _MISSED * self._period + 2 * _LIMIT:
            raise TimeoutError("rocm-smi does not answer any more")
        return self._card


def rocm(
    pci: str, ask: Callable[[], dict[str, Any]] = told, period_s: float = READ_EVERY
) -> tuple[Counter | None, Gauge | None]:
    """A GPU's counter and load; None where the command does not tell it.

    Args:
        pci: The device's place, as `00000000:3b:00.0`.
        ask: Runs the command.
        period_s: Seconds between two runs of it.
    """
    try:
        kept = _Kept(pci, ask, period_s)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None, None

    def joules() -> float:
        return float(kept.card()["Accumulated Energy (uJ)"]) / 1e6

    def load() -> Load:
        card = kept.card()
        return Load(
            number(card.get("GPU use (%)"), 0.01), number(card.get("VRAM Total Used Memory (B)"))
        )

    name = "GPUs (rocm-smi)"
    counted = "Accumulated Energy (uJ)" in kept.card()
    counter = Counter(name=name, read=joules, every_s=period_s) if counted else None
    return counter, Gauge(name=name, read=load)
