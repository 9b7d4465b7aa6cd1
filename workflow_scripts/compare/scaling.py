"""Points of scaling studies that several folders measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workflow_scripts.compare.site import Site
from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.scaling.words import DONE
from workflow_scripts.study.words import STATUS_TEXTS

Json = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """One point of a study, as each folder measured it (None: not there)."""

    study: str
    point: str
    found: list[Json | None]

    def values(self, key: str) -> list[float | None]:
        """A measured number of the point in each folder; of a spread its median."""
        cells = [row.get(key) if row else None for row in self.found]
        return [cell["median"] if isinstance(cell, dict) else cell for cell in cells]


def measured(sites: Sequence[Site]) -> list[Measured]:
    """The points of one study's and one point's name that at least two folders have."""
    rows: dict[tuple[str, str], Measured] = {}
    for place, site in enumerate(sites):
        for study in site.report["studies"]:
            for point in study["points"]:
                key = (study["study"], point["point"])
                one = rows.setdefault(key, Measured(*key, [None] * len(sites)))
                one.found[place] = point
    return [one for one in rows.values() if len(one.found) - one.found.count(None) > 1]


# Key of a point, name of the table, title, unit, how it is written, what it is divided by.
QUANTITIES = (
    ("images_per_s", "scaling", "Throughput of points", "images/s", ",.1f", 1.0),
    ("peak_memory_bytes", "scaling-memory", "Peak memory of points", "GB", ",.3f", 1e9),
    ("energy_j", "scaling-energy", "Energy of points", "kJ", ",.3f", 1e3),
)


def scaling_tables(rows: Sequence[Measured], sites: Sequence[Site]) -> list[Table]:
    """A table for each quantity that any folder measured."""
    found = []
    for key, name, title, unit, spec, by in QUANTITIES:
        body = []
        for one in rows:
            values = [None if value is None else value / by for value in one.values(key)]
            status = [row["status"] if row else "not measured" for row in one.found]
            cells = [
                STATUS_TEXTS.get(said, said) if value is None and said != DONE else value
                for value, said in zip(values, status, strict=True)
            ]
            if any(value is not None for value in values):
                body.append([one.study, one.point, *cells])
        columns = [Column(s.label, unit, spec, absent="not measured") for s in sites]
        if body:
            found.append(
                Table(
                    name=name, title=title, columns=["study", "point", *columns], rows=body,
                    synthetic=False,
                )
            )  # fmt: skip
    return found
