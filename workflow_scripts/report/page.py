"""The page: a template, autoescaped, with every figure inside it as a data URI."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import yaml
from markupsafe import Markup

from workflow_scripts.report import tables
from workflow_scripts.report.collect import Collected, ProbeData, RunData

Json = dict[str, Any]
_HERE = Path(__file__).parent


def data_uri(figure: Path) -> Markup | None:
    """An SVG file as text of an `<img src>`, None if there is no such file.

    As an image of its own, its ids cannot clash with another's and its scripts cannot run.
    """
    if not figure.is_file():
        return None
    text = quote(figure.read_text(encoding="utf-8"), safe="/:;=,+ ()!*@?")
    return Markup("data:image/svg+xml," + text)


def _safe_link(link: str | None) -> str | None:
    return link if link and link.startswith("https://") else None


def published() -> list[Json]:
    """Published numbers with their sources."""
    groups: list[Json] = yaml.safe_load((_HERE / "published.yaml").read_text(encoding="utf-8"))
    return [{**group, "link": _safe_link(group.get("link"))} for group in groups]


def _headlines(collected: Collected) -> list[Json]:
    """The accuracy of each probe, large, as the first thing on the page."""
    return [
        {
            "value": tables.accuracy(probe.result["encoder"]["top1"]),
            "floor": tables.accuracy(probe.result["random"]["top1"]),
            "run": probe.run_label,
            "benchmark": probe.benchmark_label,
            "synthetic": probe.synthetic,
            "anchor": f"probe-{probe.run}-{probe.benchmark}",
        }
        for probe in collected.probes
    ]


def _datasets(collected: Collected) -> list[Json]:
    rows = []
    for entry, summary in collected.manifests:
        rows.append(
            {
                "label": entry["label"],
                "date": (summary.get("recipe") or {}).get("date"),
                "synthetic": bool(summary["synthetic"]),
                "items": tables.number(summary["items"]),
                "bytes": tables.size(summary["bytes"]),
                "classes": len(summary["classes"]),
                "duplicates": tables.number(summary["duplicates"]),
                "across": summary.get("duplicates_across_splits") or 0,
                "set_aside": tables.tally(summary["set_aside"]),
                "source": summary["source"],
            }
        )
    return rows


def _tiles(collected: Collected) -> list[Json]:
    return [
        {
            **{name: tile[name] for name in ("dataset", "date", "synthetic", "chips_kept")},
            "granules": f"{tile['granules_read']} read, {tile['granules_set_aside']} set aside",
            "set_aside": tables.tally([g for g in tile["granules"] if g.get("reason")]),
            "dropped": tables.reasons(tile["chips_dropped"]),
            "bands": ", ".join(tile["bands"]),
        }
        for tile in collected.tiles
    ]


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
            "figure": data_uri(figures / f"data_{corpus.name}.svg"),
        }
        for corpus in collected.corpora
    ]


def _run(run: RunData, figures: Path) -> Json:
    mask = (run.summary.get("recipe") or {}).get("mask") or {}
    return {
        "true_statistics": bool(mask.get("norm_pix")),
        "name": run.name,
        "label": run.label,
        "objective": run.objective,
        "synthetic": run.synthetic,
        "pinned": tables.pins(run),
        "facts": tables.run_facts(run),
        "digest": run.summary["run_digest"][: tables.SHORT],
        "curves": data_uri(figures / f"run_{run.name}.svg"),
        "reconstruction": data_uri(figures / f"reconstruction_{run.name}.svg"),
    }


def _probe(probe: ProbeData, figures: Path) -> Json:
    names = f"{probe.run}_{probe.benchmark}"
    return {
        "anchor": f"probe-{probe.run}-{probe.benchmark}",
        "run": probe.run_label,
        "benchmark": probe.benchmark_label,
        "synthetic": probe.synthetic,
        "classes": len(probe.result["classes"]),
        "rows": [
            {
                "who": who,
                "top1": tables.accuracy(probe.result[key]["top1"]),
                "top5": tables.accuracy(probe.result[key]["top5"]),
            }
            for who, key in (("this run", "encoder"), ("random weights", "random"))
        ],
        "chance": f"{100 / len(probe.result['classes']):.1f}",
        "seeds": len(probe.result["seeds"]),
        "facts": tables.probe_facts(probe),
        "figure": data_uri(figures / f"probe_{names}.svg"),
    }


def context(collected: Collected, figures: Path) -> Json:
    """Everything the template shows, as plain values."""
    recipe = collected.recipe
    totals, jobs = tables.stages(collected)
    environment, versions = tables.environment(collected)
    sources = [
        *(summary["synthetic"] for _, summary in collected.manifests),
        *(corpus.synthetic for corpus in collected.corpora),
        *(run.synthetic for run in collected.runs),
        *(probe.synthetic for probe in collected.probes),
    ]
    return {
        "title": recipe["title"],
        "name": recipe["name"],
        "config_digest": recipe["config_digest"],
        "config_yaml": recipe["config_yaml"],
        "note": recipe.get("synthetic_note") or "",
        "any_synthetic": any(sources),
        "all_synthetic": bool(sources) and all(sources),
        "headlines": _headlines(collected),
        "dag": data_uri(figures / "dag.svg"),
        "accuracy": data_uri(figures / "accuracy.svg"),
        "stages": totals,
        "jobs": jobs,
        "environment": environment,
        "versions": versions,
        "datasets": _datasets(collected),
        "tiles": _tiles(collected),
        "corpora": _corpora(collected, figures),
        "runs": [_run(run, figures) for run in collected.runs],
        "probes": [_probe(probe, figures) for probe in collected.probes],
        "published": published(),
        "absent": tables.ABSENT,
    }


def render(collected: Collected, figures: Path) -> str:
    """The page as HTML text; it refers to nothing outside itself but the links of sources."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2").render(context(collected, figures))
