"""Read the results of scaling studies and plans: points and options as plain, checked objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, read_object
from workflow_scripts.scaling.words import DONE, REAL, SYNTHETIC
from workflow_scripts.study.words import STATUS_TEXTS

Json = dict[str, Any]

_GIVEN = (
    "point", "encoder", "patch", "mode", "strategy", "nodes", "ranks_per_node", "ranks", "batch",
    "workers", "prefetch", "gather_ahead", "image_size", "tokens", "tokens_by_channel",
    "encoder_parameters", "status", "error", "data_wait", "peak_memory_bytes", "tflops", "mfu",
    "device",
)  # fmt: skip


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


@dataclass(frozen=True, kw_only=True)
class PlanData:
    """A plan: what each way of laying a training over a machine would take."""

    name: str
    label: str
    study: str | None  # the study that the machine's constants are fitted to
    result: Json

    @property
    def options(self) -> list[Json]:
        """Every layout that was considered."""
        return list(self.result["options"])

    @property
    def measured(self) -> list[Json]:
        """Points of the machine's study beside what the planner says of them."""
        return list(self.result.get("measured") or [])

    @property
    def machine(self) -> Json:
        """The machine's numbers."""
        return dict(self.result["machine"])


def _spread(path: Path, row: Json, key: str) -> Spread | None:
    found = row.get(key)
    if found is None:
        return None
    try:
        return Spread(**{name: float(found[name]) for name in ("median", "least", "most")})
    except (TypeError, KeyError, ValueError):
        raise UserError(
            f"{path}: point {row.get('point')}: {key} is {found!r}, expected median, least and "
            "most; make the study again"
        ) from None


def _point(path: Path, row: Any) -> PointData:
    needed = ("point", "encoder", "mode", "nodes", "ranks_per_node", "ranks", "batch", "status")
    missing = [name for name in needed if not isinstance(row, dict) or row.get(name) is None]
    if missing:
        raise UserError(f"{path}: a point without {', '.join(missing)}; make the study again")
    if row["status"] not in STATUS_TEXTS:
        raise UserError(
            f"{path}: point {row['point']} has the status {row['status']!r}, expected one of "
            f"{', '.join(STATUS_TEXTS)}; make the study again"
        )
    rate = _spread(path, row, "images_per_s") if row["status"] == DONE else None
    if row["status"] == DONE and (rate is None or rate.median <= 0):
        raise UserError(
            f"{path}: point {row['point']} is done and has no images_per_s above zero; measure it "
            "again"
        )
    return PointData(rate=rate, **{name: row.get(name) for name in _GIVEN})


def read_study(entry: Json, results: Path) -> StudyData:
    """One entry of `studies` in the report's recipe.

    Raises:
        UserError: No such result, or not one of a study.
    """
    path = results / "scaling" / f"{entry['name']}.json"
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("points"), list):
        raise UserError(f"{path}: no result of a study (no list `points`); make the study again")
    points = [_point(path, row) for row in found["points"]]
    return StudyData(name=entry["name"], label=entry["label"], points=points)


def read_plan(entry: Json, results: Path) -> PlanData:
    """One entry of `plans` in the report's recipe.

    Raises:
        UserError: No such result, or not one of a plan.
    """
    path = results / "plans" / f"{entry['name']}.json"
    found = read_object(path, machine=dict, options=list, recommended=dict)
    return PlanData(name=entry["name"], label=entry["label"], study=entry["study"], result=found)
