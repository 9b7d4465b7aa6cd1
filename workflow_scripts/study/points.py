"""The points of a study as plain, checked objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.scaling.words import DONE, REAL, SYNTHETIC
from workflow_scripts.study.table import damaged, read_table
from workflow_scripts.study.words import STATUS_TEXTS

Json = dict[str, Any]

_GIVEN = (
    "point", "encoder", "patch", "mode", "strategy", "nodes", "ranks_per_node", "ranks", "batch",
    "workers", "prefetch", "gather_ahead", "image_size", "tokens", "tokens_by_channel",
    "encoder_parameters", "status", "error", "data_wait", "peak_memory_bytes", "tflops", "mfu",
    "device",
)  # fmt: skip
_TEXTS = {"point", "encoder", "mode", "strategy", "status", "error", "device"}
_NEEDED = ("point", "encoder", "mode", "nodes", "ranks_per_node", "ranks", "batch", "status")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A measured quantity over its repetitions."""

    median: float
    least: float
    most: float

    @property
    def arms(self) -> tuple[float, float]:
        """What it reaches below and above its median."""
        return self.median - self.least, self.most - self.median


@dataclass(frozen=True, kw_only=True)
class PointData:
    """One point of a study, as its stage left it; what was not measured is None.

    Attributes:
        rate: Images/s of the whole job.
        data_wait: Share of the time in which training waited for data.
        peak_memory_bytes: Of the rank with most.
        device: What it ran on; None where it did not run to its end.
    """

    point: str
    encoder: str
    patch: int | None
    mode: str
    strategy: str | None
    nodes: int
    ranks_per_node: int
    ranks: int
    batch: int
    workers: int | None
    prefetch: int | None
    gather_ahead: int | None
    image_size: int | None
    tokens: int | None
    tokens_by_channel: int | None
    encoder_parameters: int | None
    status: str
    error: str | None
    rate: Spread | None
    data_wait: float | None
    peak_memory_bytes: float | None
    tflops: float | None
    mfu: float | None
    device: str | None

    @property
    def rates(self) -> tuple[float | None, float | None, float | None]:
        """Median, least and most images/s, for a table."""
        found = self.rate
        return (found.median, found.least, found.most) if found else (None, None, None)

    @property
    def step_s(self) -> float | None:
        """Seconds of a step: its images over images/s."""
        return self.batch * self.ranks / self.rate.median if self.rate else None


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """A study: its points in the order of the study's lists."""

    name: str
    label: str
    points: list[PointData]

    def of(self, *modes: str) -> list[PointData]:
        """Its points of some modes."""
        return [one for one in self.points if one.mode in modes]

    @property
    def main_mode(self) -> str:
        """The mode that strategies are compared by: synthetic data where they were measured.

        Reading differs from site to site; a batch that lies in memory does not.
        """
        return SYNTHETIC if self.of(SYNTHETIC) else REAL

    @property
    def data_text(self) -> str:
        """What the points that are compared were fed with."""
        return "a batch in memory" if self.main_mode == SYNTHETIC else "real data"


def _spread(path: Path, row: Json, key: str) -> Spread | None:
    found = row.get(key)
    if found is None:
        return None
    try:
        return Spread(**{name: float(found[name]) for name in ("median", "least", "most")})
    except (TypeError, KeyError, ValueError):
        seen = f"point {row['point']}: {key} is {found!r}, expected median, least and most"
        raise damaged(path, seen) from None


def _point(path: Path, row: Json) -> PointData:
    missing = [name for name in _NEEDED if row[name] is None]
    if missing:
        raise damaged(path, f"a point without {', '.join(missing)}")
    for name in _GIVEN:
        kind = str if name in _TEXTS else int | float
        if not isinstance(row.get(name), kind | None):
            raise damaged(path, f"of a point {name} is {row[name]!r:.60}")
    if row["status"] not in STATUS_TEXTS:
        expected = ", ".join(STATUS_TEXTS)
        raise damaged(
            path, f"point {row['point']} has the status {row['status']!r}, expected {expected}"
        )
    rate = _spread(path, row, "images_per_s") if row["status"] == DONE else None
    if row["status"] == DONE and (rate is None or rate.median <= 0):
        raise UserError(
            f"{path}: point {row['point']} is done and has no images_per_s above zero; measure it "
            "again"
        )
    given: Json = {name: row.get(name) for name in _GIVEN}
    return PointData(rate=rate, **given)


def read_study(path: Path) -> StudyData:
    """Read the table of a study: `results/scaling/<study>.json`.

    Raises:
        UserError: No such file, or it is not one of a study.
    """
    found = read_table(path, _NEEDED)
    if not isinstance(found.get("label"), str):
        raise damaged(path, f"its label is {found.get('label')!r:.60}")
    points = [_point(path, row) for row in found["points"]]
    return StudyData(name=path.stem, label=found["label"], points=points)
