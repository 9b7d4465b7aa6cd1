"""Tables of a comparison: a row for each thing compared, a column for each folder of results."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workflow_scripts.compare.differing import differing
from workflow_scripts.compare.pairs import Group, runs_of
from workflow_scripts.compare.site import Site
from workflow_scripts.energy.climate import kwh
from workflow_scripts.probe.reading import protocol_title
from workflow_scripts.report.figure_data import Column, Table

NOT_RECORDED = "not recorded"

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One number of a run that is compared.

    Attributes:
        name: Of its table.
        title: What it is.
        unit: Its unit.
        spec: How it is written, as `format` takes it.
        of: The number of a run of a `report.json`, None where it was not recorded.
        ratio: Whether two of them are told apart by their ratio, else by their difference.
    """

    name: str
    title: str
    unit: str
    spec: str
    of: Callable[[Json], float | None]
    ratio: bool = True


def _scaled(key: str, by: float) -> Callable[[Json], float | None]:
    return lambda row: None if row[key] is None else row[key] / by


LOSS = Quantity(
    name="loss", title="Last loss", unit="", spec=".4f", of=_scaled("loss_last", 1), ratio=False
)
SPEED = Quantity(
    name="speed", title="Throughput", unit="images/s", spec=",.1f", of=_scaled("images_per_s", 1)
)
MEMORY = Quantity(
    name="memory", title="Peak memory of a rank or device", unit="GB", spec=",.3f",
    of=_scaled("peak_memory_bytes", 1e9),
)  # fmt: skip
ENERGY = Quantity(
    name="energy", title="Energy of the run", unit="kWh", spec=".4g",
    of=lambda row: None if row["energy_j"] is None else kwh(row["energy_j"]),
)  # fmt: skip
TIME = Quantity(
    name="time", title="Time of the run", unit="s", spec=",.1f", of=_scaled("seconds", 1)
)
RUN_QUANTITIES = (LOSS, SPEED, TIME, MEMORY, ENERGY)


def settings_table(sites: Sequence[Site]) -> Table:
    """Keys of the configurations, defaults filled in, that are not equal in all."""
    return _keys("configuration", "Configuration", [site.report["config"] for site in sites], sites)


def made_table(sites: Sequence[Site]) -> Table:
    """Machines, commits and versions of packages that are not equal in all."""
    made = [
        {name: ", ".join(values) for name, values in {**rest, **versions}.items()}
        for rest, versions in ((_made(site), site.report["made"]["versions"]) for site in sites)
    ]
    return _keys("made", "Machines, commits, versions", made, sites)


def _made(site: Site) -> dict[str, list[str]]:
    return {key: site.report["made"][key] for key in ("machines", "commits")}


def recipe_tables(groups: Sequence[Group], sites: Sequence[Site]) -> list[Table]:
    """What differs in the recipes of runs that correspond, a table for each such run."""
    found = []
    for group in groups:
        places = sorted(group.members)
        runs = [sites[place].run(group.members[place]) for place in places]
        table = _keys(
            # Of a file, so that no name from elsewhere leads out of its folder.
            "recipe_" + re.sub(r"[^\w.-]", "_", runs[0]["name"]), f"Recipe of {group.label}",
            [run["recipe"] for run in runs], [sites[place] for place in places],
        )  # fmt: skip
        found += [table] if table.rows else []
    return found


def _keys(name: str, title: str, settings: Sequence[Json], sites: Sequence[Site]) -> Table:
    rows = [[key, *values] for key, values in differing(settings)]
    columns = ["key", *(site.label for site in sites)]
    return Table(name=name, title=title, columns=columns, rows=rows, synthetic=False)


def quantity_table(quantity: Quantity, groups: Sequence[Group], sites: Sequence[Site]) -> Table:
    """One number of all runs that at least two of the folders have."""
    rows, synthetic = [], False
    for group in groups:
        runs = runs_of(group, sites)
        values = [None if run is None else quantity.of(run) for run in runs]
        rows.append([group.label, *values, *_apart(values, quantity)])
        synthetic |= any(run["synthetic"] for run in runs if run)
    return Table(
        name=quantity.name, title=quantity.title,
        columns=["run", *_columns(sites, quantity), *_apart_column(sites, quantity)],
        rows=rows, synthetic=synthetic,
    )  # fmt: skip


def _columns(sites: Sequence[Site], quantity: Quantity) -> list[Column]:
    return [Column(s.label, quantity.unit, quantity.spec, absent=NOT_RECORDED) for s in sites]


def _apart_column(sites: Sequence[Site], quantity: Quantity) -> list[Column]:
    """Of two folders a last column says how far the second is from the first."""
    if len(sites) != 2:
        return []
    name = "second ÷ first" if quantity.ratio else "second − first"
    return [
        Column(name, "" if quantity.ratio else quantity.unit, ".3f" if quantity.ratio else "+.4g")
    ]


def _apart(values: Sequence[float | None], quantity: Quantity) -> list[float | None]:
    if len(values) != 2:
        return []
    first, second = values
    if first is None or second is None:
        return [None]
    if quantity.ratio:
        return [second / first if first else None]
    return [second - first]


@dataclass(frozen=True)
class Judged:
    """One protocol of one encoder on one benchmark, as each folder found it (None: not there)."""

    encoder: str
    benchmark: str
    protocol: str
    found: list[Json | None]

    @property
    def headline(self) -> bool:
        """Whether it is the protocol that pictures show."""
        return any(row["headline"] for row in self.found if row)

    @property
    def same_splits(self) -> bool:
        """Whether all folders judged the same samples."""
        return len({row["splits"] for row in self.found if row}) == 1


def judged(groups: Sequence[Group], sites: Sequence[Site]) -> list[Judged]:
    """What at least two folders judged alike: encoder, benchmark and protocol correspond."""
    names = {
        (place, name): number
        for number, group in enumerate(groups)
        for place, name in group.members.items()
    }
    rows: dict[tuple[Any, ...], Judged] = {}
    for place, site in enumerate(sites):
        for row in site.report["probes"]:
            who = names.get((place, row["run"]), row["encoder"])
            key = (who, row["step"], row["benchmark"], row["protocol"])
            label = row["label"]
            one = rows.setdefault(
                key, Judged(label, row["benchmark_label"], row["protocol"], [None] * len(sites))
            )
            one.found[place] = row
    return [one for one in rows.values() if len(one.found) - one.found.count(None) > 1]


def accuracy_table(rows: Sequence[Judged], sites: Sequence[Site]) -> Table:
    """Mean and standard deviation of every protocol that corresponds."""
    columns: list[Column | str] = ["encoder", "benchmark", "protocol", "metric"]
    for site in sites:
        columns += [Column(site.label, "%", ".1f", absent="not judged"),
                    Column(f"{site.label}, deviation", "%", ".1f", spread=True)]  # fmt: skip
    apart = Quantity(name="", title="", unit="points", spec="", of=_scaled("mean", 1), ratio=False)
    body = []
    for one in rows:
        first = next(row for row in one.found if row)
        cells: list[Any] = [
            one.encoder,
            one.benchmark,
            protocol_title(one.protocol),
            first["metric"],
        ]
        for row in one.found:
            spread = row["std"] if row and row["trials"] > 1 else None
            cells += [row["mean"] if row else None, spread]
        means = [row["mean"] if row else None for row in one.found]
        body.append([*cells, *_apart(means, apart), "yes" if one.same_splits else "no"])
    return Table(
        name="accuracy", title="Accuracy",
        columns=[*columns, *_apart_column(sites, apart), "same samples"], rows=body,
        synthetic=any(row["synthetic"] for one in rows for row in one.found if row),
    )  # fmt: skip
