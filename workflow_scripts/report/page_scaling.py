"""The page's parts on studies, plans and all runs together, as `macros.html.j2` shows them."""

from collections.abc import Callable, Iterable
from typing import Any

from workflow_scripts.report.collect import Collected
from workflow_scripts.report.figure_data import Table
from workflow_scripts.report.figures_modes import reader_text
from workflow_scripts.report.figures_planned import median_error, pairs
from workflow_scripts.report.figures_plans import plan_table
from workflow_scripts.report.plan_data import PlanData
from workflow_scripts.report.study_names import study_kinds, together_figures
from workflow_scripts.report.table_forms import view
from workflow_scripts.report.tables_scaling import published_rows, published_table, study_table
from workflow_scripts.scaling.words import DONE
from workflow_scripts.study.points import StudyData
from workflow_scripts.study.words import STATUS_TEXTS

Json = dict[str, Any]
Picture = Callable[[str], Any]  # a figure's name → what the page shows of it

# Kind of a study's figure: its heading and how to read it.
_READING = {
    "scaling": (
        "Weak scaling",
        "Images/s of the whole job, medians with the least and most of the repetitions. Dotted: "
        "what each line's smallest point would give without loss; below, what is left of that. On "
        "one rank every strategy is the plain model, so that lines begin at the same point.",
    ),
    "strategies": (
        "Strategies",
        "Images/s of a rank, so that all sizes share an axis: strategies stand side by side, and "
        "what is lost with size is seen from left to right.",
    ),
    "memory": (
        "Memory",
        "Peak memory of the rank with most: of its device, or resident on a CPU. Marks at the "
        "upper edge are points that did not end. Rings, where a plan is fitted to the study: what "
        "the planner says a device needs; resident memory on a CPU holds other things too.",
    ),
    "modes": (
        "Real data, a batch in memory, nothing sent, reading alone",
        "The distance between two lines is the cost of one thing: from a batch in memory up to "
        "nothing sent, of sending; down to real data, of reading.",
    ),
    "time": (
        "Where the time of a step goes",
        "Differences between modes. What is sent or read while a device computes costs nothing and "
        "is in no part; at the right, the step's length, and the share of reading that is hidden "
        "so. The ring: from it to the right edge training waited for data, as it saw it itself.",
    ),
    "reading": (
        "Reading",
        "What the loader gives when nothing is trained. Where it lies above a dashed line, reading "
        "can be hidden behind that training.",
    ),
    "sequence": (
        "Length of the sequence",
        "Tokens are (image size / patch)²; below, with every band's tokens apart.",
    ),
    "batch": ("Batch of a rank", "Images of a rank in a step against images/s and memory."),
    "ahead": (
        "Gathering ahead",
        "Blocks whose parameters are gathered before they are needed; 0: as fully_shard does by "
        "itself.",
    ),
}
_STUDY = (
    "Every rank has its own batch: a job of twice the ranks has twice the images in a step (weak "
    "scaling). “Real data” are the corpus as training reads it, generated or not: speed and memory "
    "are measured, and do not depend on what images show."
)
_PLANNED = (
    "Each mark is a point of the study to which the planner's constants were fitted; the band is "
    "±15 %. It shows how well the model's form fits these points, not how well it foretells others."
)
_LOSSES = (
    "Losses of different objectives, or of patches normalised or not, are in different units: each "
    "has a panel of its own, and no curve of one panel can be compared with one of another. Runs "
    "on different corpora can share a panel; their losses differ with the images too. Many logged "
    "steps are averaged in groups."
)
_PARAMETERS = (
    "Marks of one encoder stand above each other, encoders of nearly equal size side by side. Grey "
    "marks: the same encoder with random weights. Open marks are published numbers of models "
    "whose size is known; their data, splits and protocols differ: context, not a comparison."
)


def _counts(study: StudyData) -> str:
    """`10 points: 8 measured, 2 not (1 out of memory, 1 failed)`."""
    ended: dict[str, int] = {}
    for one in study.points:
        if one.status != DONE:
            name = STATUS_TEXTS[one.status]
            ended[name] = ended.get(name, 0) + 1
    total, lost = len(study.points), sum(ended.values())
    told = ", ".join(f"{count} {name}" for name, count in ended.items())
    return f"{total:,} points, {total - lost:,} measured" + (f" ({told})" if told else "")


def _devices(study: StudyData) -> str:
    return ", ".join(dict.fromkeys(one.device for one in study.points if one.device)) or "none"


def _each(values: Iterable[object]) -> str:
    """Every value once, in order of appearance; `–` where there is none."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None)) or "–"


def _facts(study: StudyData) -> list[tuple[str, str]]:
    reader = reader_text(study)
    return [
        ("points", _counts(study)),
        ("ran on", _devices(study)),
        (
            "encoders",
            _each(
                f"{p.encoder} ({p.encoder_parameters:,} parameters)"
                if p.encoder_parameters
                else p.encoder
                for p in study.points
            ),
        ),
        ("images of a rank in a step", _each(one.batch for one in study.points)),
        ("image size", _each(f"{p.image_size} px" if p.image_size else None for p in study.points)),
        ("strategies compared on", study.data_text),
        *([("reader in the comparison of modes", reader)] if reader else []),
    ]


def studies(collected: Collected, picture: Picture) -> list[Json]:
    """A part for each study."""
    entries = {entry["name"]: entry for entry in collected.recipe["studies"]}
    return [
        {
            "anchor": f"scaling-{study.name}",
            "title": study.label,
            "synthetic": False,
            "text": [_STUDY],
            "facts": _facts(study),
            "pictures": [
                {
                    "title": _READING[kind][0],
                    "uri": picture(f"{kind}_{study.name}"),
                    "alt": f"{_READING[kind][0]}: {study.label}",
                    "reading": _READING[kind][1],
                }
                for kind in study_kinds(entries[study.name])
            ],
            "tables": _study_tables(study),
        }
        for study in collected.studies
    ]


def _study_tables(study: StudyData) -> list[Json]:
    beside = published_table(study, published_rows())
    return [view(study_table(study)), *([view(beside)] if beside.rows else [])]


def scaling_tables(collected: Collected) -> list[Table]:
    """Tables of studies and plans, those that `study_names` names."""
    found = []
    for study in collected.studies:
        found += [study_table(study), published_table(study, published_rows())]
    return found + [plan_table(plan.result) for plan in collected.plans]


def plans(collected: Collected, picture: Picture) -> list[Json]:
    """A part for each plan."""
    return [_plan(plan, picture) for plan in collected.plans]


def _plan(plan: PlanData, picture: Picture) -> Json:
    pictures = [
        {
            "title": "",
            "uri": picture(f"plan_{plan.name}"),
            "alt": f"Time, node-hours and efficiency of each layout: {plan.label}",
            "reading": "A ring is the layout that is recommended, a cross one that cannot be.",
        }
    ]
    if plan.study:
        pictures.append(
            {
                "title": "Planner against measured",
                "uri": picture(f"planned_{plan.name}"),
                "alt": f"Planner against measured: {plan.label}",
                "reading": _PLANNED,
            }
        )
    errors = {
        "images/s": median_error(pairs(plan, "images_per_s")),
        "memory": median_error(pairs(plan, "memory_bytes")),
    }
    told = [f"{name} {100 * error:.1f} %" for name, error in errors.items() if error is not None]
    machine = plan.machine
    return {
        "anchor": f"plan-{plan.name}",
        "title": plan.label,
        "synthetic": False,
        "text": [plan.result["recommended"]["why"]],
        "facts": [
            ("machine", str(machine.get("label") or machine["name"])),
            ("images", f"{plan.result['images']:,}"),
            ("epochs", f"{plan.result['epochs']:,}"),
            ("planner's constants", str(plan.result["constants"]["source"])),
            *([("median error on the study", ", ".join(told))] if told else []),
        ],
        "pictures": pictures,
        "tables": [{**view(plan_table(plan.result)), "note": ""}],  # its reason stands above
    }


def together(collected: Collected, picture: Picture) -> list[Json]:
    """Parts over all runs: losses, and accuracy against parameters."""
    names = together_figures(collected.recipe)
    shown = {
        "losses": ("Losses", _LOSSES, any(run.synthetic for run in collected.runs)),
        "accuracy_parameters": (
            "Accuracy against parameters", _PARAMETERS,
            any(probe.synthetic for probe in collected.probes),
        ),
    }  # fmt: skip
    return [
        {
            "anchor": f"together-{name.replace('_', '-')}",
            "title": title,
            "synthetic": synthetic,
            "text": [],
            "facts": [],
            "pictures": [
                {
                    "title": "",
                    "uri": picture(name),
                    "alt": title + (" (synthetic)" if synthetic else ""),
                    "reading": reading,
                }
            ],
            "tables": [],
        }
        for name, (title, reading, synthetic) in shown.items()
        if name in names
    ]
