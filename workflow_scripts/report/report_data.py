"""`report.json`: what the page shows, as data, for a report that compares several results."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from workflow_scripts.digests import digest
from workflow_scripts.energy.measured import measured
from workflow_scripts.files import read_json
from workflow_scripts.probe.reading import metrics, split_digests
from workflow_scripts.report.collect import Collected, RunData
from workflow_scripts.report.figure_data import Table
from workflow_scripts.report.probe_data import ProbeData
from workflow_scripts.report.run_facts import how_it_ran
from workflow_scripts.results import stamp

MOST_LOSSES = 300  # points of a loss curve
_STAMP = ("schema_version", "stage", "recipe", "digests")

Json = dict[str, Any]


def report_data(collected: Collected, results: Path, shown: Sequence[Table] = ()) -> Json:
    """The report as data; like the page it tells speeds and machines too, from the provenance.

    Args:
        collected: Everything the page is made of.
        results: The folder of results, for the studies.
        shown: The page's tables.

    Returns:
        Beside the stamp: `title`, `name`, `config_digest` and `config` (defaults filled in); `made`
        (`machines`, `commits`, and `versions` by package, each all that were found); `runs`,
        `probes` and `studies`; and `tables`, as `Table.as_data` gives them.
    """
    recipe = collected.recipe
    studies = {
        entry["name"]: results / "scaling" / f"{entry['name']}.json"
        for entry in recipe.get("studies", [])
    }
    inputs = {f"run:{run.name}": run.summary["run_digest"] for run in collected.runs}
    return {
        **stamp("report", recipe, inputs),
        "title": recipe["title"],
        "name": recipe["name"],
        "config_digest": recipe["config_digest"],
        "config": yaml.safe_load(recipe["config_yaml"]),
        "made": _made(collected.provenances),
        "runs": [_run(run) for run in collected.runs],
        "probes": [row for probe in collected.probes for row in _verdicts(probe)],
        "studies": [_without_stamp(read_json(path)) for path in studies.values()],
        "tables": [table.as_data() for table in shown],
    }


def _distinct(values: Iterable[Any]) -> list[str]:
    return sorted({str(value) for value in values if value})


def _made(provenances: list[Json]) -> Json:
    packages = sorted({name for p in provenances for name in p.get("versions") or {}})
    return {
        "machines": _distinct(p.get("machine") for p in provenances),
        "commits": _distinct(p.get("git_commit") for p in provenances),
        "versions": {
            name: _distinct((p.get("versions") or {}).get(name) for p in provenances)
            for name in packages
        },
    }


def _run(run: RunData) -> Json:
    """A run: what it was, how it went and its loss; measured values are None where not recorded."""
    summary, facts = run.summary, run.facts or {}
    ran = how_it_ran(run)
    recipe = summary.get("recipe") or {}
    kept = ("parameters", "encoder_parameters", "epochs", "steps", "batch", "samples_seen",
            "loss_first", "loss_last", "run_digest")  # fmt: skip
    return {
        "name": run.name,
        "label": run.label,
        "synthetic": run.synthetic,
        "objective": run.objective,
        "recipe": recipe,
        "recipe_digest": digest(recipe) if recipe else None,
        **{key: summary[key] for key in kept},
        "layout": ran["layouts"],
        "images_per_s": ran["speed"],
        "peak_memory_bytes": ran["device_peak"] or ran["rank_peak"],
        "seconds": facts.get("seconds"),
        "energy_j": measured(facts).whole,
        "loss": loss_curve(run.history),
    }


def loss_curve(history: list[Json], most: int = MOST_LOSSES) -> list[list[float]]:
    """[step, loss] of up to `most` logged steps, evenly spaced; the first and last always."""
    rows = [[row["step"], row["loss"]] for row in history if row.get("loss") is not None]
    if len(rows) <= most:
        return rows
    return [rows[place] for place in np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _verdicts(probe: ProbeData) -> list[Json]:
    """What every protocol found of an encoder, in percent, by the metric that counts first."""
    rows = []
    for protocol, result in probe.protocols.items():
        key, title = metrics(result)[0]
        found = (probe.verdict(protocol) or {}).get(key)
        if found:
            rows.append(
                {
                    "encoder": probe.encoder,
                    "label": probe.label,
                    "run": probe.run,
                    "step": probe.step,
                    "benchmark": probe.benchmark,
                    "benchmark_label": probe.benchmark_label,
                    "protocol": protocol,
                    "headline": protocol == probe.headline,
                    "metric": title,
                    "mean": found["mean"],
                    "std": found["std"],
                    "trials": len(found["values"]),
                    "splits": digest(split_digests(result)),
                    "synthetic": probe.synthetic,
                }
            )
    return rows


def _without_stamp(result: Json) -> Json:
    return {key: value for key, value in result.items() if key not in _STAMP}
