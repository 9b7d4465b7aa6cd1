"""The comparing page: what differs first, then results side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.compare import figures, tables
from workflow_scripts.compare.pairs import Group, corresponding
from workflow_scripts.compare.scaling import measured, scaling_tables
from workflow_scripts.compare.site import Site
from workflow_scripts.report.embedded import data_uri
from workflow_scripts.report.figure_data import Table
from workflow_scripts.report.style import styled
from workflow_scripts.report.table_forms import view, write_table
from workflow_scripts.report.templates import fill_in

_HERE = Path(__file__).parent
SECTIONS = (
    ("differs", "What differs"), ("accuracy", "Accuracy"), ("loss", "Loss"),
    ("cost", "Throughput, memory, energy"), ("scaling", "Scaling"), ("alone", "Without a partner"),
)  # fmt: skip

Json = dict[str, Any]


def _picture(path: Path | None, alt: str) -> list[Json]:
    return [{"uri": data_uri(path), "alt": alt}] if path else []


def _part(title: str, pictures: list[Json], found: Sequence[Table]) -> Json:
    return {
        "title": title,
        "synthetic": any(table.synthetic for table in found),
        "pictures": pictures,
        "tables": [view(table) for table in found if table.rows],
    }


def _cost(
    groups: Sequence[Group], sites: Sequence[Site], folder: Path
) -> tuple[list[Json], list[Table]]:
    """A part for each measured quantity of runs: a picture and its table."""
    parts, made = [], []
    for quantity in tables.RUN_QUANTITIES[1:]:
        table = tables.quantity_table(quantity, groups, sites)
        known = any(v is not None for site in sites for v in table.column(site.label))
        alt = f"{quantity.title} of runs in each folder of results"
        unit = f"{quantity.title.lower()} ({quantity.unit})"
        drawn = figures.table_figure(table, sites, folder, unit)
        part = _part(quantity.title, _picture(drawn, alt), [table] if known else [])
        parts.append(part | {"absent": "" if known else "Not recorded in any of them."})
        made.append(table)
    return parts, made


def _alone(groups: Sequence[Group], sites: Sequence[Site]) -> list[Json]:
    """For each folder its runs that no other has."""
    return [
        {
            "site": site.label,
            "runs": [
                f"{group.label} ({group.members[place]})"
                for group in groups
                if set(group.members) == {place}
            ],
        }
        for place, site in enumerate(sites)
    ]


def compare_page(sites: Sequence[Site], folder: Path, name: str | None = None) -> str:
    """The page as text; its figures and tables are written into `folder` too.

    Args:
        sites: What is compared.
        folder: Where the files go.
        name: What the page calls their folder; its own name by default.
    """
    groups = corresponding(sites)
    pairs = [group for group in groups if len(group.members) > 1]
    rows, points = tables.judged(groups, sites), measured(sites)
    config, made = tables.settings_table(sites), tables.made_table(sites)
    recipes = tables.recipe_tables(pairs, sites)
    accuracy = tables.accuracy_table(rows, sites)
    loss = tables.quantity_table(tables.LOSS, pairs, sites)
    scaling = scaling_tables(points, sites)
    with styled():
        drawn = {
            "accuracy": figures.accuracy_figure(rows, sites, folder, accuracy),
            "losses": figures.losses_figure(groups, sites, folder),
            "scaling": figures.scaling_figure(points, sites, folder, scaling),
        }
        cost, cost_tables = _cost(pairs, sites, folder)
    for table in (config, made, *recipes, accuracy, loss, *cost_tables, *scaling):
        write_table(table, folder)
    context = {
        "title": "Results compared",
        "sections": SECTIONS,
        "absent": tables.NOT_RECORDED,
        "sites": [
            {
                "label": site.label, "folder": str(site.folder), "title": site.report["title"],
                "digest": site.report["config_digest"],
                "synthetic": site.synthetic,
                "commits": ", ".join(one[:12] for one in site.report["made"]["commits"]),
                "machines": ", ".join(site.report["made"]["machines"]),
            }
            for site in sites
        ],
        "config": view(config), "made": view(made), "recipes": [view(one) for one in recipes],
        "pairs": len(pairs),
        "accuracy": _part(
            "Accuracy", _picture(drawn["accuracy"], "Accuracy in each folder"), [accuracy]
        ),
        "loss": _part("Loss", _picture(drawn["losses"], "Loss of runs that correspond"), [loss]),
        "cost": cost,
        "scaling": _part(
            "Scaling", _picture(drawn["scaling"], "Throughput of points of studies"), scaling
        ),
        "alone": _alone(groups, sites),
        "files": name or folder.name,
    }  # fmt: skip
    return fill_in("compare.html.j2", context, _HERE)
