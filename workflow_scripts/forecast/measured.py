"""A study's points as the planner sees them: to fit its constants to, and to hold it against."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workflow_scripts.digests import digest
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.plan.cost import Constants, Layout, Machine, Workload, predicted_step
from workflow_scripts.plan.fit import Observation
from workflow_scripts.plan.workload import workload_of
from workflow_scripts.pretrain.peaks import peak_flops
from workflow_scripts.scaling.words import DONE, STEPS, SYNTHETIC
from workflow_scripts.study.table import damaged, read_table

Json = dict[str, Any]

_NEEDED = (
    "point", "encoder", "patch", "mode", "status", "strategy", "nodes", "ranks_per_node", "batch",
    "precision", "device", "images_per_s", "peak_memory_bytes",
)  # fmt: skip
_SAME = 0.1  # most by which peaks of one device differ between sources


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A point that was measured.

    Attributes:
        row: Its row of the study.
        workload: What its step computes, holds and sends.
        layout: How it was laid over the machine.
    """

    row: Json
    workload: Workload
    layout: Layout

    @property
    def memory_bytes(self) -> float | None:
        """Of the device; what a CPU's process keeps resident is more than a model's memory."""
        if self.row["device"] == "cpu":
            return None
        found: float | None = self.row["peak_memory_bytes"]
        return found

    def observation(self, machine: Machine) -> Observation:
        """For the fit."""
        return Observation(
            workload=self.workload, layout=self.layout, machine=machine,
            images_per_s=self.row["images_per_s"]["median"], memory_bytes=self.memory_bytes,
        )  # fmt: skip


def read_study(path: Path, machine: Machine) -> list[Measured]:
    """The points of a study that trained and were measured.

    What a point trained stands in its own file, in the folder beside the study's.

    Args:
        path: `results/scaling/<study>.json`.
        machine: On which it was made.

    Raises:
        UserError: It is no study, no point of it is done, it was made on something else, or a
            point's file is missing or another one.
    """
    study = _study(path)
    rows = [row for row in study["points"] if row["mode"] in STEPS]
    done = [row for row in rows if row["status"] == DONE]
    if not done:
        ends = ", ".join(sorted({row["status"] for row in rows})) or "no such point"
        raise UserError(
            f"{path}: no point that trains (synthetic or real) is done ({ends}); the logs of the "
            "points say why"
        )
    _check_machine(path, done, machine)
    known: dict[str, Workload] = {}
    stored = study["digests"]["inputs"]
    return [_measured(path, row, stored[f"point:{row['point']}"], known) for row in done]


def study_precision(path: Path) -> str:
    """The arithmetic of a study, one for all its points.

    Raises:
        UserError: It is no study, or not a whole one.
    """
    return str(_study(path)["points"][0]["precision"])


def _study(path: Path) -> Json:
    study = read_table(path, _NEEDED)
    digests = study.get("digests")
    stored = digests.get("inputs") if isinstance(digests, dict) else None
    if not study["points"]:
        raise damaged(path, "no point")
    if not isinstance(stored, dict) or any(
        f"point:{row['point']}" not in stored for row in study["points"]
    ):
        raise damaged(path, "points without their digests")
    return study


def _check_machine(path: Path, rows: Sequence[Json], machine: Machine) -> None:
    devices = sorted({row["device"] for row in rows})
    if len(devices) > 1:
        raise UserError(
            f"{path}: its points were measured on {' and '.join(devices)}; constants are of one "
            "device, so make a study for each"
        )
    ranks = max(row["ranks_per_node"] for row in rows)
    if ranks > machine.devices_per_node:
        raise UserError(
            f"{path}: its points have up to {ranks} ranks a node, and the machine "
            f"{machine.devices_per_node} devices; name the machine on which it was made"
        )
    for row in rows:
        peak = peak_flops(row["device"], row["precision"])
        if peak and abs(peak / machine.peak_flops - 1) > _SAME:
            raise UserError(
                f"{path}: measured on {row['device']}, whose peak in {row['precision']} is "
                f"{peak / 1e12:g} TFLOP/s; the machine's is {machine.peak_flops / 1e12:g}. Name "
                "the machine on which it was made, with its peak at that precision"
            )


def _measured(path: Path, row: Json, stored: str, known: dict[str, Workload]) -> Measured:
    file = path.with_suffix("") / f"{row['point']}.json"
    point = read_json(file)
    if digest(point) != stored:
        raise UserError(
            f"{file}: not the point that {path} was made of; make the study again (`snakemake "
            "scaling`), or copy both from one place"
        )
    recipe = point["recipe"]
    key = f"{row['encoder']}-{row['patch']}"
    if key not in known:
        known[key] = workload_of(recipe["pretrain"], recipe["channels"])
    layout = Layout(
        strategy=row["strategy"], nodes=row["nodes"], devices=row["ranks_per_node"],
        batch=row["batch"], recompute=recipe["activation_checkpointing"],
    )  # fmt: skip
    return Measured(row=row, workload=known[key], layout=layout)


def seen_by(points: Sequence[Measured], machine: Machine) -> Machine:
    """The machine, of CPUs if its study was made on them: their autocast keeps other things."""
    on_cpus = bool(points) and all(one.row["device"] == "cpu" for one in points)
    return replace(machine, gpu=False) if on_cpus else machine


def to_fit(points: Sequence[Measured]) -> list[Measured]:
    """The points that constants are fitted to: of synthetic data, if there are any.

    Real data may keep a step waiting, which the planner knows nothing of.
    """
    synthetic = [one for one in points if one.row["mode"] == SYNTHETIC]
    return synthetic or list(points)


def against(points: Sequence[Measured], machine: Machine, constants: Constants) -> list[Json]:
    """The planner against each point, as rows of the plan."""
    rows = []
    for one in points:
        step = predicted_step(one.workload, one.layout, machine, constants)
        rows.append(
            {
                "point": one.row["point"],
                "mode": one.row["mode"],
                "strategy": one.row["strategy"],
                "nodes": one.row["nodes"],
                "ranks": one.row["ranks"],
                "images_per_s": one.row["images_per_s"]["median"],
                "predicted_images_per_s": float(f"{step.images_per_s:.6g}"),
                "memory_bytes": one.memory_bytes,
                "predicted_memory_bytes": float(f"{step.memory_bytes:.6g}"),
            }
        )
    return rows


def errors(rows: Sequence[Json]) -> list[float]:
    """How far predicted rates are from the measured ones, as shares of these, all positive."""
    return [abs(row["predicted_images_per_s"] / row["images_per_s"] - 1) for row in rows]
