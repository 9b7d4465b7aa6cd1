"""The page: a template, autoescaped, with every figure inside it as a data URI."""

from pathlib import Path
from typing import Any

from workflow_scripts import dates
from workflow_scripts.published import groups, trained_on, value
from workflow_scripts.report import (
    page_energy,
    page_probes,
    page_scaling,
    tables,
    tables_days,
    tables_probes,
)
from workflow_scripts.report.collect import Collected, CorpusData, RunData
from workflow_scripts.report.embedded import data_uri
from workflow_scripts.report.energy_data import energy_facts
from workflow_scripts.report.run_facts import pins, run_facts
from workflow_scripts.report.templates import fill_in
from workflow_scripts.shards.layout import IMAGES

Json = dict[str, Any]
# Sections in their order: the file of `blocks` that shows it, its anchor too, and its name.
SECTIONS = (
    ("made", "What was run"), ("data", "Data"), ("together", "Runs together"), ("runs", "Runs"),
    ("probes", "Probes"), ("scaling", "Scaling"), ("plans", "Plan"), ("energy", "Energy"),
    ("published", "Published numbers"),
)  # fmt: skip

# How to read the figures of chips.
_CHIPS = (
    "The same chips twice. Below each: start of its granule, position of its centre, satellite and "
    "share of cloudy pixels by the cloud mask. Brightness temperatures use each satellite's own "
    "constants; one scale holds for all chips of a row."
)
_MAP = (
    "Chips with their corners, or how many there are in a cell where there are very many. On a map "
    "of the whole Earth distances grow towards the poles; that of a part is true to scale in its "
    "middle."
)
_BANDS = (
    "Share of the pixels that have a value, by satellite, in each of sixty equal bins; the axis is "
    "logarithmic, and the outermost 0.1 % at either end is left out. Mean and mean + 2σ are those "
    "of the whole corpus, from its index. Along the upper edge of emissive bands: the brightness "
    "temperature of that radiance."
)
_DROPPED = "A dropped chip counts once. Shares are of all chips looked at."


def _safe_link(link: str | None) -> str | None:
    return link if link and link.startswith("https://") else None


def published() -> list[Json]:
    """Published numbers with their sources."""
    return [
        {
            **group,
            "link": _safe_link(group["link"]),
            "rows": [
                {**row, "shown": value(row), "data": trained_on(row)} for row in group["rows"]
            ],
        }
        for group in groups()
    ]


def _datasets(collected: Collected) -> list[Json]:
    rows = []
    for entry, sums in collected.manifests:
        days = dates.expand(collected.recipe["days"].get(entry["name"], ""))
        rows.append(
            {
                "label": entry["label"],
                "days": _span(days),
                "synthetic": sums["synthetic"],
                "items": tables.number(sums["items"]),
                "bytes": tables.size(sums["bytes"]),
                "classes": len(sums["classes"]),
                "duplicates": tables.number(sums["duplicates"]),
                "across": sums["duplicates_across_splits"],
                "set_aside": tables.reasons(sums["set_aside"], tables.MOST_REASONS),
                "source": sums["source"],
            }
        )
    return rows


def _used(collected: Collected) -> list[Json]:
    """What the data are cited by, and the archives they came in."""
    rows = []
    for entry, sums in collected.manifests:
        differing = sums["differences"]
        rows.append(
            {
                "label": entry["label"],
                "synthetic": sums["synthetic"],
                "version": entry["version"] or "–",
                "licence": entry["licence"] or ("–" if sums["synthetic"] else "not stated"),
                "citation": entry["citation"] or ("–" if sums["synthetic"] else "not stated"),
                "homepage": entry["homepage"],
                "link": _safe_link(entry["homepage"]),
                "origin": entry["origin"],
                "differing": differing,
                "files": [{**file, "bytes": tables.size(file["bytes"])} for file in sums["files"]],
            }
        )
    return rows


def _span(days: list[str]) -> str:
    """`2003-01-01`, or `365 days, 2003-01-01 to 2003-12-31`; empty for data without days."""
    if len(days) < 2:
        return "".join(days)
    return f"{len(days):,} days, {days[0]} to {days[-1]}"


def _granules(collected: Collected) -> Json | None:
    """Everything about days of granules, None where there is none."""
    if not collected.days.totals:
        return None
    return {
        "synthetic": any(tally.synthetic for tally in collected.days.totals.values()),
        "table": tables_days.chips_table(collected),
        "by_platform": tables_days.by_platform(collected.days),
        "dead": tables_days.dead_detectors(collected),
        "by_day": collected.days.by_day,
        "periods": tables_days.periods(collected),
        "set_aside": tables_days.set_aside(collected),
    }


def _corpora(collected: Collected, figures: Path) -> list[Json]:
    return [
        {
            "name": corpus.name,
            "label": corpus.label,
            "synthetic": corpus.synthetic,
            "kind": corpus.samples.kind,
            "count": tables.number(corpus.index["count"]),
            "datasets": ", ".join(corpus.index["datasets"]),
            "bands": ", ".join(corpus.index["bands"]),
            "shards": len(corpus.index["shards"]),
            "bytes": tables.size(sum(shard["bytes"] for shard in corpus.index["shards"])),
            "content": corpus.index["content"][: tables.SHORT],
            "counts": tables.class_counts(corpus),
            "set_aside": tables.reasons(corpus.index["set_aside"]),
            "items": corpus.index.get("set_aside_items", []),
            "near_duplicates": tables.near_duplicates(corpus.index.get("near_duplicates")),
            "left_out": tables.reasons(corpus.index.get("left_out", {})),
            "test_images": tables.judged_images(corpus),
            "matching": tables_days.matching_facts(corpus.index.get("matching")),
            "pictures": _pictures(corpus, figures),
        }
        for corpus in collected.corpora
    ]


def _pictures(corpus: CorpusData, figures: Path) -> list[Json]:
    """Figures of a corpus, each with what it shows and how to read it."""
    tail = f" of {corpus.label}{' (synthetic)' if corpus.synthetic else ''}"
    if corpus.samples.kind == IMAGES:
        kinds = [("data", "Samples", "")]
    else:
        kinds = [("data", "Chips", _CHIPS), ("map", "Map of the chips", _MAP),
                 ("bands", "Histograms by band", _BANDS)]  # fmt: skip
        kinds += [("dropped", "Chips kept and dropped", _DROPPED)] if corpus.cut_from else []
    return [
        {
            "alt": f"{title}{tail}",
            "reading": reading,
            "uri": data_uri(figures / f"{kind}_{corpus.name}.svg"),
        }
        for kind, title, reading in kinds
    ]


def _run(run: RunData, figures: Path, energy: Json) -> Json:
    mask = (run.summary.get("recipe") or {}).get("mask") or {}
    return {
        "true_statistics": bool(mask.get("norm_pix")),
        "name": run.name,
        "label": run.label,
        "objective": run.objective,
        "synthetic": run.synthetic,
        "pinned": pins(run),
        "facts": [*run_facts(run), *energy_facts(run, energy)],
        "digest": run.summary["run_digest"][: tables.SHORT],
        "curves": data_uri(figures / f"run_{run.name}.svg"),
        "reconstruction": data_uri(figures / f"reconstruction_{run.name}.svg"),
    }


def context(collected: Collected, figures: Path) -> Json:
    """Everything the template shows, as plain values."""
    recipe = collected.recipe
    totals, jobs = tables.stages(collected)
    environment, versions = tables.environment(collected)

    def picture(name: str) -> Any:
        return data_uri(figures / f"{name}.svg")

    sources = [
        *(summary["synthetic"] for _, summary in collected.manifests),
        *(corpus.synthetic for corpus in collected.corpora),
        *(run.synthetic for run in collected.runs),
        *(probe.synthetic for probe in collected.probes),
    ]
    return {
        "title": recipe["title"],
        "sections": SECTIONS,
        "name": recipe["name"],
        "config_digest": recipe["config_digest"],
        "config_yaml": recipe["config_yaml"],
        "note": recipe.get("synthetic_note") or "",
        "any_synthetic": any(sources),
        "all_synthetic": bool(sources) and all(sources),
        "headlines": page_probes.headlines(collected),
        "dag": data_uri(figures / "dag.svg"),
        "stages": totals,
        "jobs": jobs,
        "environment": environment,
        "versions": versions,
        "datasets": _datasets(collected),
        "used": _used(collected),
        "granules": _granules(collected),
        "corpora": _corpora(collected, figures),
        "runs": [_run(run, figures, recipe["energy"]) for run in collected.runs],
        "benchmarks": page_probes.benchmarks(collected, picture),
        "together": page_scaling.together(collected, picture),
        "scaling": page_scaling.studies(collected, picture),
        "plans": page_scaling.plans(collected, picture),
        "energy": page_energy.parts(collected, picture),
        "arp": tables_probes.arp_table(collected.probes, recipe.get("arp_baseline")),
        "published": published(),
        "absent": tables.ABSENT,
    }


def render(collected: Collected, figures: Path) -> str:
    """The page as HTML text; it refers to nothing outside itself but the links of sources."""
    return fill_in("page.html.j2", context(collected, figures))
