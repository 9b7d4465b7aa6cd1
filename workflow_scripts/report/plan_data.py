"""Read the results of plans: options as plain, checked objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_object

Json = dict[str, Any]
_TEXTS = ("strategy", "refused")
_NUMBERS = (
    "nodes", "ranks", "batch", "memory_bytes", "fits", "step_s", "communication_s", "images_per_s",
    "efficiency", "epoch_s", "total_s", "segments", "walltime_minutes", "node_hours", "kwh",
    "kg_co2",
)  # fmt: skip


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


def read_plan(entry: Json, results: Path) -> PlanData:
    """One entry of `plans` in the report's recipe.

    Raises:
        UserError: No such result, or not one of a plan.
    """
    path = results / "plans" / f"{entry['name']}.json"
    found = read_object(path, machine=dict, options=list, recommended=dict)
    for option in found["options"]:
        if not isinstance(option, dict) or not all(
            name in option and isinstance(option[name], kind | None)
            for names, kind in ((_TEXTS, str), (_NUMBERS, int | float))
            for name in names
        ):
            raise UserError(
                f"{path}: a layout is {option!r:.60}, which is not what `snakemake plan` writes; "
                "delete the file and make it again"
            )
    return PlanData(name=entry["name"], label=entry["label"], study=entry["study"], result=found)
