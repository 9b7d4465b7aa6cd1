"""Extract the features that a benchmark's probes need: of an encoder, its floors and its views."""

import argparse
import math
import time
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.features.device import device_of
from workflow_scripts.features.encoder import BF16, FP32
from workflow_scripts.features.job import Job, extract_share, join_sets, prepare
from workflow_scripts.features.store import StoredSet, rows_digest, told_layer
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.pretrain import launch, spawn
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.results import stamp, write_result
from workflow_scripts.stage import run_stage, stage_parser

MODULE = "workflow_scripts.features"


def parser() -> argparse.ArgumentParser:
    """The command line of the stage."""
    one = stage_parser("features", __doc__ or "")
    one.add_argument("--model", type=Path, required=True, help="the encoder's model folder")
    one.add_argument("--index", type=Path, required=True, help="the benchmark's index.json")
    one.add_argument("--splits", type=Path, help="the benchmark's list of splits (CSV)")
    one.add_argument("--output", type=Path, required=True, help="the result JSON")
    one.add_argument("--store", type=Path, required=True, help="folder of the features themselves")
    one.add_argument(
        "--device", default="cpu", choices=["cpu", "cuda", "auto"],
        help="where encoders run; auto: on a GPU if there is one (default: cpu)",
    )  # fmt: skip
    one.add_argument("--ranks", type=int, default=1, help="processes that share the work")
    one.add_argument(
        "--threads",
        type=int,
        help="of each rank: batches at a time (default: OMP_NUM_THREADS, or its part of the cores)",
    )
    one.add_argument(
        "--patience-s", type=float, default=600.0, help="time for the next part of another rank"
    )
    told = "time of this job; not used: one that is ended goes on from the parts it has made"
    one.add_argument("--walltime-s", type=float, default=math.inf, help=told)
    return one


def write(
    job: Job, sets: dict[str, StoredSet], output: Path, *, splits: Path | None,
    facts: dict[str, Any],
) -> None:  # fmt: skip
    """Write the result, which names the sets, and its provenance."""
    inputs = {
        **job.files,
        "benchmark": job.corpus.index["content"],
        **({"splits": file_sha256(splits)} if splits else {}),
    }
    layers = job.recipe["layers"]
    body = {
        "encoder": job.recipe["encoder"],
        "benchmark": job.recipe["benchmark"],
        "image_size": job.size,
        "precision": job.precision,
        "layers": layers,
        "layer": told_layer(layers),
        "poolings": job.recipe["poolings"],
        "count": len(job.rows),
        "rows": rows_digest(job.rows),
        "sets": {
            wanted.name: {
                "digest": wanted.digest,
                "shape": list(sets[wanted.name].shape),
                "sha256": sets[wanted.name].sha256,
            }
            for wanted in job.sets
        },
    }
    made = stamp("features", job.recipe, inputs)
    write_result(output, stamp=made, body=body, facts=facts)


def run_rank(arguments: argparse.Namespace, recipe: dict[str, Any], ranks: Ranks) -> None:
    """The work of one rank; the first joins the parts of all and writes the result."""
    try:
        if not ranks.must_spawn:
            launch.check_number(ranks, arguments.ranks)
        device = device_of(arguments.device, ranks)
        job = prepare(
            recipe, model=arguments.model, index=arguments.index, splits=arguments.splits,
            store=arguments.store, precision=FP32 if device == "cpu" else BF16,
        )  # fmt: skip
    except UserError:
        if ranks.is_first:
            raise
        launch.leave_words_to_first()
    threads = arguments.threads or launch.threads(ranks)
    start = time.monotonic()
    samples = extract_share(job, ranks=ranks, device=device, threads=threads)
    seconds = time.monotonic() - start
    if sum(samples.values()):
        log.info("%d samples in %.1f s, %.1f/s", sum(samples.values()), seconds,
                 sum(samples.values()) / seconds)  # fmt: skip
    if ranks.is_first:
        sets = join_sets(job, patience_s=arguments.patience_s)
        facts = {"device": device, "ranks": ranks.world, "threads": threads,
                 "extracted_by_first": samples, "extraction_s": round(seconds, 3)}  # fmt: skip
        write(job, sets, arguments.output, splits=arguments.splits, facts=facts)


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: alone, as the parent of ranks, or as one rank."""
    ranks = launch.place(arguments.ranks)
    if spawn.decided() is not None:  # the parent holds the output's lock
        spawn.follow_parent()
        run_rank(arguments, recipe, ranks)
    elif not ranks.is_first:
        run_rank(arguments, recipe, ranks)
    else:
        with exclusive(arguments.output):
            if ranks.must_spawn:
                spawn.start(ranks, MODULE, decided="features")
            else:
                run_rank(arguments, recipe, ranks)


if __name__ == "__main__":
    run_stage(parser(), work)
