"""One folder of results among those that are compared."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.results import SCHEMA_VERSION

FEWEST, MOST = 2, 8  # more columns than that are not read side by side
REPORT = "report.json"
# What a report.json has, and as what.
_KEYS = {
    "title": str, "name": str, "config_digest": str, "config": dict, "made": dict, "runs": list,
    "probes": list, "studies": list,
}  # fmt: skip
# What is read of each row of its lists, and as what.
_NUMBER, _TEXT = int | float | None, str | None
_ROWS: dict[str, dict[str, Any]] = {
    "runs": {
        "name": str, "label": str, "synthetic": bool, "recipe": dict, "recipe_digest": _TEXT,
        "loss": list, "loss_last": _NUMBER, "seconds": _NUMBER, "images_per_s": _NUMBER,
        "peak_memory_bytes": _NUMBER, "energy_j": _NUMBER,
    },
    "probes": {
        "encoder": str, "label": str, "run": _TEXT, "step": int | None, "benchmark": str,
        "benchmark_label": str, "protocol": str, "headline": bool, "metric": str, "mean": _NUMBER,
        "std": _NUMBER, "trials": int, "splits": str, "synthetic": bool,
    },
    "studies": {"study": str, "points": list},
}  # fmt: skip
_POINT = {
    "point": str, "status": str, "images_per_s": dict | None, "peak_memory_bytes": _NUMBER,
    "energy_j": _NUMBER,
}  # fmt: skip
_MADE = {"machines": list, "commits": list, "versions": dict}

Json = dict[str, Any]


@dataclass(frozen=True)
class Site:
    """A folder of results: what it is called beside the others, where it is, and its report."""

    label: str
    folder: Path
    report: Json

    @property
    def synthetic(self) -> bool:
        """Whether anything in it comes from generated data."""
        return any(row["synthetic"] for key in ("runs", "probes") for row in self.report[key])

    def run(self, name: str) -> Json:
        """A run of it by name."""
        found: Json = next(run for run in self.report["runs"] if run["name"] == name)
        return found


def read_report(folder: Path) -> Json:
    """The `report.json` of a folder of results.

    Raises:
        UserError: There is no such folder or file, or it is not one that this version reads.
    """
    path = folder / REPORT
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give folders of results that have a {REPORT}")
    if not path.is_file():
        raise UserError(
            f"{folder}: no {REPORT} in it; make the report there first (snakemake all), or give the"
            " folder that report.html is in"
        )
    found = read_json(path)
    if not isinstance(found, dict) or found.get("stage") != "report":
        raise UserError(f"{path}: not what the report leaves; make the report there again")
    if found.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema_version {found.get('schema_version')!r}, expected {SCHEMA_VERSION};"
            " make the report there again with the version of Orbweaver used here"
        )
    for key, kind in _KEYS.items():
        if not isinstance(found.get(key), kind):
            raise UserError(
                f"{path}: {key!r} is {'missing' if key not in found else 'not as expected'}: "
                "it is of another version, or was cut off; make the report there again"
            )
    checked = [(key, found[key], kinds) for key, kinds in _ROWS.items()]
    for key, rows, kinds in [("made", [found["made"]], _MADE), *checked]:
        if not all(_is(row, kinds) and _holds(key, row) for row in rows):
            raise UserError(
                f"{path}: {key!r} is not as expected: it is of another version, or was changed; "
                "make the report there again"
            )
    return found


def _is(row: Any, kinds: dict[str, Any]) -> bool:
    """Whether a row has these keys, and as these types."""
    return isinstance(row, dict) and all(
        key in row and isinstance(row[key], kind) for key, kind in kinds.items()
    )


def _holds(key: str, row: Json) -> bool:
    """Whether the lists in a row of `key` hold what is read of them."""
    if key == "runs":
        return all(_is_pair(one) for one in row["loss"])
    if key == "studies":
        return all(_is(one, _POINT) and _is_spread(one["images_per_s"]) for one in row["points"])
    if key == "made":
        lists = [row["machines"], row["commits"], *row["versions"].values()]
        return all(isinstance(n, list) and all(isinstance(one, str) for one in n) for n in lists)
    return True


def _is_pair(value: Any) -> bool:
    """Whether it is a point of a curve: step and loss."""
    whole = isinstance(value, list) and len(value) == 2
    return whole and all(isinstance(one, int | float) for one in value)


def _is_spread(value: Any) -> bool:
    return value is None or _is(value, {"median": int | float})


def read_sites(folders: Sequence[Path]) -> list[Site]:
    """All folders, in the order given.

    Raises:
        UserError: Too few or too many, one twice, or one that cannot be read.
    """
    if not FEWEST <= len(folders) <= MOST:
        raise UserError(f"{len(folders)} folder(s) to compare; expected {FEWEST} to {MOST}")
    places: dict[Path, Path] = {}
    for folder in folders:
        place = folder.resolve()
        if place in places:
            same = f" (as {places[place]})" if places[place] != folder else ""
            raise UserError(f"{folder}: given twice{same}; give each folder of results once")
        places[place] = folder
    reports = [read_report(folder) for folder in folders]
    labels = _labels(folders, [report["name"] for report in reports])
    return [Site(*one) for one in zip(labels, folders, reports, strict=True)]


def _labels(folders: Sequence[Path], names: list[str]) -> list[str]:
    """The experiments' names where they tell the folders apart, else the folders'.

    Of folders that all have one name, such as `results`, it is the part of the path that differs.
    """
    for labels in (names, [folder.resolve().name for folder in folders]):
        if len(set(labels)) == len(labels):
            return labels
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} ({part})"
        for name, part in zip(names, _differing_parts(folders), strict=True)
    ]


def _differing_parts(folders: Sequence[Path]) -> list[str]:
    """The paths without the parts that all of them begin with or end with."""
    paths = [folder.resolve().parts for folder in folders]

    def equal(rows: list[tuple[str, ...]]) -> int:
        """How many leading parts are the same in all."""
        columns = list(zip(*rows, strict=False))
        return next((n for n, parts in enumerate(columns) if len(set(parts)) > 1), len(columns))

    start = equal(paths)
    rests = [parts[start:] for parts in paths]
    end = equal([parts[::-1] for parts in rests])
    whole = min(map(len, rests)) == end  # one path lies in another: nothing of it would be left
    return ["/".join(parts[: None if whole else len(parts) - end]) or "." for parts in rests]
