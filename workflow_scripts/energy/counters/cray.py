"""The node's counter of an HPE Cray EX (Frontier): the whole node, accelerators included."""

from pathlib import Path

from workflow_scripts.energy.counters.kinds import Counter, working

PM_COUNTERS = Path("/sys/cray/pm_counters")


def cray(root: Path = PM_COUNTERS) -> Counter | None:
    """The node's counter: `energy` holds `<joules> J <microseconds> us`, ten times a second.

    Args:
        root: The folder of the counters.
    """

    def read() -> float:
        number, unit = (root / "energy").read_text(encoding="ascii").split()[:2]
        if unit != "J":
            raise ValueError(f"{root / 'energy'}: expected J, found {unit}")
        return float(number)

    return working(Counter(name="node (Cray pm_counters)", read=read, every_s=0.1))
