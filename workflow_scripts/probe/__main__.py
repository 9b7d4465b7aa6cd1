"""Judge an encoder's features on a benchmark by every protocol, beside those of its floors."""

import argparse
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.features.store import StoredSet, open_set, rows_digest, told_layer
from workflow_scripts.files import exclusive, read_json
from workflow_scripts.logs import log
from workflow_scripts.probe import metrics, pictures
from workflow_scripts.probe.checks import check_splits
from workflow_scripts.probe.judging import Judge, check, judged
from workflow_scripts.probe.protocols import entries
from workflow_scripts.probe.told import told_corpora, told_splits
from workflow_scripts.probe.trial import Outcome, Trial
from workflow_scripts.results import stamp, write_result
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.split.samples import Benchmark, read_benchmark
from workflow_scripts.stage import run_stage, stage_parser
from workflow_scripts.threads import map_in_order, usable_cores, workers_are


def write_pictures(path: Path, benchmark: Benchmark, trial: Trial, outcome: Outcome) -> None:
    """What the pictures of a probe are made of, from its first trial by the headline."""
    shown = pictures.pictures(
        outcome.scores, trial.test.labels, benchmark.splits[0].test,
        trial.features[outcome.chosen["pooling"]], trial.classes, trial.seed,
        places=trial.test.rows,
    )  # fmt: skip
    pictures.write(path, shown)


def verified(made: dict[str, Any], store: Path, features: Path) -> dict[str, StoredSet]:
    """By name, the sets that the features' result names, every byte of them compared.

    Args:
        made: The result.
        store: The folder of all sets.
        features: The result's file, for messages.

    Raises:
        UserError: A set is gone or damaged, or another than when the result was written.
    """
    sets = {name: open_set(store, row["digest"]) for name, row in made["sets"].items()}
    for _ in map_in_order(StoredSet.verify, sets.values()):
        pass
    for name, found in sets.items():
        if found.sha256 != made["sets"][name]["sha256"]:
            raise UserError(
                f"{found.path}: not the array of {name!r} that {features} names, it was made again "
                "since; delete that file and start again"
            )
    return sets


def probe(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Write the probe's result, what its pictures are made of, and its provenance."""
    wanted = entries(recipe)
    if not recipe["seeds"]:
        raise UserError("probe: seeds is empty; give one or more")
    made = read_json(arguments.features)
    benchmark = read_benchmark(arguments.index, arguments.splits)
    check_splits(benchmark)
    if made["rows"] != rows_digest(benchmark.used):
        raise UserError(
            f"{arguments.features}: features of {made['count']} samples, but the splits use "
            f"{len(benchmark.used)}, or others; extract the features again"
        )
    splits = told_splits(benchmark, [Corpus(index) for index in arguments.corpora])
    judge = Judge(
        benchmark=benchmark,
        sets=verified(made, arguments.store, arguments.features),
        layers=recipe["layers"],
        seeds=recipe["seeds"],
    )
    for how in wanted.values():
        check(judge, *how)
    headline = next(iter(wanted))
    found: dict[str, dict[str, Any]] = {}
    for name, how in wanted.items():
        # Scores of one protocol at a time: those of all on a large test side are gigabytes.
        found[name], trial, outcome = judged(judge, *how)
        if name == headline:
            write_pictures(arguments.output.with_suffix(".npz"), benchmark, trial, outcome)
    body = {
        **{key: recipe[key] for key in ("encoder", "run", "step", "benchmark", "synthetic")},
        "image_size": made["image_size"],
        "layers": recipe["layers"],
        "layer": told_layer(recipe["layers"]),
        "classes": benchmark.classes,
        "multi_label": benchmark.multi_label,
        "seeds": recipe["seeds"],
        "splits": splits,
        "headline": headline,
        "protocols": found,
    }
    inputs = {
        **made["digests"]["inputs"],
        "features": file_sha256(arguments.features),
        **({"splits": file_sha256(arguments.splits)} if arguments.splits else {}),
        **told_corpora(arguments.corpora),
    }
    write_result(
        arguments.output, stamp=stamp("probe", recipe, inputs), body=body,
        facts={"threads": arguments.threads},
    )  # fmt: skip
    for name, result in found.items():
        told = [metrics.told(result["judged"][who]) for who in ("encoder", "random")]
        log.info("%s on %s, %s: %s; random weights %s", recipe["encoder"], recipe["benchmark"],
                 name, *told)  # fmt: skip


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """The stage, one at a time for an output."""
    with exclusive(arguments.output), workers_are(arguments.threads):
        probe(arguments, recipe)


if __name__ == "__main__":
    parser = stage_parser("probe", __doc__ or "")
    parser.add_argument("--features", type=Path, required=True, help="the stage features' JSON")
    parser.add_argument("--store", type=Path, required=True, help="where its sets of features lie")
    parser.add_argument("--index", type=Path, required=True, help="the benchmark's index.json")
    parser.add_argument(
        "--splits", type=Path, help="the stage split's CSV; without it the index's own split"
    )
    parser.add_argument("--output", type=Path, required=True, help="the result JSON")
    parser.add_argument(
        "--corpora", type=Path, nargs="*", default=[], metavar="INDEX",
        help="index.json of each corpus the encoder was pretrained on, to count shared samples",
    )  # fmt: skip
    parser.add_argument(
        "--threads",
        type=int,
        default=usable_cores(),
        help="pieces of work at a time (default: the cores at hand)",
    )
    run_stage(parser, work)
