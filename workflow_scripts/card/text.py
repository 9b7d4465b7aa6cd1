"""The text of a model card, as model hubs read it: a YAML head, then Markdown."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from workflow_scripts.energy.climate import (
    co2_kg,
    co2_words,
    grid_words,
    kwh_words,
    watts_words,
)
from workflow_scripts.energy.measured import measured
from workflow_scripts.probe.protocol_order import in_order
from workflow_scripts.probe.reading import judged, metrics, overlaps, protocol_title, spread

Json = dict[str, Any]

NOT_STATED = "not stated"
_HUB_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")  # as hubs write those they know: cc-by-4.0
_TEMPLATE = "README.md.j2"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a card is made of.

    Args:
        recipe: Names, labels, and what data are cited by, from the configuration.
        summary: `summary.json` of the run, whose stamp holds the run's recipe.
        model: Its `model.json`.
        corpus: The index of its corpus.
        facts: How it ran, from the provenance: segments, seconds and joules of the whole run.
        probes: Results of its probes and fine-tunings.
    """

    recipe: Json
    summary: Json
    model: Json
    corpus: Json
    facts: Json
    probes: list[Json]


def emissions(sources: Sources) -> Json:
    """What the head of a card says of CO2, as the Hugging Face Hub reads it; empty if unknown.

    Grams of the whole run: https://huggingface.co/docs/hub/model-cards-co2
    """
    found = measured(sources.facts)
    if found.whole is None:
        return {}
    factors = sources.recipe["energy"]
    by = "; ".join(found.counters) or "counters of the machine"
    return {
        "co2_eq_emissions": {
            "emissions": float(f"{1e3 * co2_kg(found.whole, factors):.4g}"),
            "source": f"{kwh_words(found.whole)} measured by {by}, {grid_words(factors)}",
            "training_type": "pre-training",
            "hardware_used": ", ".join(devices(sources.facts)) or NOT_STATED,
        }
    }


def devices(facts: Json) -> list[str]:
    """`16 × AMD Instinct MI250X`, for each kind of segment."""
    rows = facts["segments"]
    return sorted({f"{row['ranks']} × {row['device']}" for row in rows if "ranks" in row})


def licence(datasets: list[Json]) -> Json:
    """What the head of a card says of the data's licence, in the words of model hubs."""
    stated = {row["licence"] for row in datasets}
    if None in stated:
        return {"license": "unknown"}
    if len(stated) == 1:
        (text,) = stated
        if _HUB_LICENCE.fullmatch(text.lower()):
            return {"license": text.lower()}
    return {"license": "other", "license_name": "; ".join(sorted(stated))}


def head(sources: Sources) -> Json:
    """The YAML head."""
    tags = ["geospatial", "earth-observation", sources.model["objective"], sources.model["family"]]
    if sources.summary["synthetic"]:
        tags.append("synthetic-data")
    return {
        **licence(sources.recipe["datasets"]),
        "library_name": "timm",
        "pipeline_tag": "image-feature-extraction",
        "tags": tags,
        **emissions(sources),
    }


def cell(value: Any) -> str:
    """A value in a table: on one line, and no bar ends its cell."""
    text = NOT_STATED if value is None else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def citations(used: list[Json]) -> list[str]:
    """A line for each work to be cited, with the datasets it is of and where they are described.

    Args:
        used: Datasets or benchmarks, with `label`, `citation` and `homepage`.
    """
    named: dict[str, list[Json]] = {}
    for row in used:
        if row["citation"]:
            named.setdefault(" ".join(row["citation"].split()), []).append(row)
    lines = []
    for citation, rows in named.items():
        pages = dict.fromkeys(row["homepage"] for row in rows if row["homepage"])
        tail = "".join(f" <{page}>" for page in pages)
        lines.append(f"{', '.join(row['label'] for row in rows)}: {citation}.{tail}")
    return lines


def counts(result: Json, part: str) -> str:
    """How many samples of a part the splits have: `1,680`, or `420, 840` where they differ."""
    return ", ".join(dict.fromkeys(f"{split[f'n_{part}']:,}" for split in result["splits"]))


def probe_rows(label: str, result: Json) -> list[Json]:
    """A row for each protocol of a result of probing or fine-tuning."""
    key = metrics(result)[0][0]
    return [
        {
            "label": label,
            "synthetic": result["synthetic"],
            "protocol": protocol_title(protocol),
            "trained": spread(judged(result, protocol, "encoder", key)),
            "random": spread(judged(result, protocol, "random", key)),
            "mean_colour": spread(judged(result, protocol, "mean-colour", key)),
            "classes": len(result["classes"]),
            "training": counts(result, "train"),
            "test": counts(result, "test"),
        }
        for protocol in in_order(result["protocols"])
    ]


def seen_in_pretraining(label: str, result: Json) -> list[str]:
    """A sentence on test samples that were in the pretraining corpus, none if there are none."""
    shared = overlaps(result)
    if not shared["test"]:
        return []
    return [
        f"{shared['test']:,} of {shared['test_of']:,} test samples of {label} were also in the "
        "pretraining corpus."
    ]


def card_text(sources: Sources) -> str:
    """The whole card; the same sources give the same text."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,  # Markdown
    )  # fmt: skip
    environment.filters |= {"cell": cell, "commas": "{:,}".format}
    labels = {row["name"]: row["label"] for row in sources.recipe["benchmarks"]}
    judged_on = [(labels[probe["benchmark"]], probe) for probe in sources.probes]
    segments = sources.facts["segments"]
    seconds = sources.facts.get("seconds") or sum(row.get("seconds") or 0.0 for row in segments)
    return environment.get_template(_TEMPLATE).render(
        head=yaml.safe_dump(head(sources), sort_keys=False, allow_unicode=True).strip(),
        names=sources.recipe,
        summary=sources.summary,
        trained=sources.summary["recipe"],
        trained_yaml=yaml.safe_dump(sources.summary["recipe"], allow_unicode=True).strip(),
        model=sources.model,
        corpus=sources.corpus,
        citations=citations(sources.recipe["datasets"]),
        judged_by=citations(sources.recipe["benchmarks"]),
        probes=[row for label, found in judged_on for row in probe_rows(label, found)],
        seen=dict.fromkeys(
            line for label, found in judged_on for line in seen_in_pretraining(label, found)
        ),
        energy=measured(sources.facts).words(),
        co2=co2_words(measured(sources.facts).whole, sources.recipe["energy"]),
        power=watts_words(measured(sources.facts).watts),
        grid=grid_words(sources.recipe["energy"]),
        hours=seconds / 3600,
        devices=devices(sources.facts),
    )  # fmt: skip
