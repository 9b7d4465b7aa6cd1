"""Which probes stand for an encoder: those that are no mere steps on the way of a run."""

from workflow_scripts.report.collect import Collected
from workflow_scripts.report.figure_names import ends_of_runs, is_along
from workflow_scripts.report.probe_data import ProbeData


def whole_probes(collected: Collected) -> list[ProbeData]:
    """Probes that are no mere steps of a run that is judged at its end."""
    entries = collected.recipe["probes"]
    pairs = zip(collected.probes, entries, strict=True)
    return [probe for probe, entry in pairs if not is_along(entry, entries)]


def judged_runs(collected: Collected) -> list[ProbeData]:
    """Probes of runs at their ends."""
    entries = collected.recipe["probes"]
    ends = ends_of_runs(entries)
    pairs = zip(collected.probes, entries, strict=True)
    return [probe for probe, entry in pairs if entry in ends]
