"""What the provenance of a run tells of its energy: how much, by what, and what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workflow_scripts.energy.climate import NOT_MEASURED, kwh_words


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Energy of a run.

    Attributes:
        joules: Measured; None if nothing was.
        counters: What measured it.
        segments: Of how many segments it is, out of how many, where it is not of the whole run.
        watts: Mean power of all its nodes; None if it is not of the whole run.
    """

    joules: float | None
    counters: tuple[str, ...] = ()
    segments: tuple[int, int] | None = None
    watts: float | None = None

    @property
    def whole(self) -> float | None:
        """Joules of the whole run; None if they are not known."""
        return self.joules if self.segments is None else None

    def words(self) -> str:
        """`2.04 kWh (GPUs (NVML))`, what is missing, or that nothing was measured."""
        if self.joules is None:
            return NOT_MEASURED
        text = kwh_words(self.joules)
        if self.counters:
            text += f", {'; '.join(self.counters)}"
        if self.segments:
            counted, of = self.segments
            text += f", in {counted} of {of} segments; the others were {NOT_MEASURED}"
        return text


def measured(facts: Mapping[str, Any]) -> Measured:
    """Energy of a run.

    Args:
        facts: `summary.provenance.json`, with `segments` and, of the whole run, `energy_j` and
            `watts`.
    """
    segments = facts.get("segments") or []
    counted = [row for row in segments if row.get("energy_j") is not None]
    names = {str(row["energy_counter"]) for row in counted if row.get("energy_counter")}
    whole = facts.get("energy_j")
    if whole is not None:
        told = facts.get("energy_counter")  # of the accounting, where no segment had a counter
        return Measured(
            joules=float(whole), counters=(str(told),) if told else tuple(sorted(names)),
            watts=facts.get("watts"),
        )  # fmt: skip
    if not counted:
        return Measured(joules=None)
    joules = float(sum(row["energy_j"] for row in counted))
    return Measured(
        joules=joules, counters=tuple(sorted(names)), segments=(len(counted), len(segments))
    )
