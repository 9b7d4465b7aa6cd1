"""Probe a finished run on a benchmark: features, linear protocol, and the untrained floor."""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive, read_json
from workflow_scripts.logs import log
from workflow_scripts.models.encoders import random_encoder
from workflow_scripts.probe.encoder import Features, load_model, set_image_size
from workflow_scripts.probe.features import check_fits, extract
from workflow_scripts.probe.sklearn_linear import Split, check_labels, linear_probe, summarise
from workflow_scripts.results import stamp, write_result
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.layout import IMAGES
from workflow_scripts.stage import run_stage, stage_parser

PROTOCOL = "linear"


def overlap(test: Corpus, corpus: Corpus | None) -> int | None:
    """How many test samples are in the pretraining corpus (None: not looked).

    Images are the same if their stored bytes are (checksum and size), or their keys: a corpus may
    have been packed smaller than the benchmark. Chips are the same if their keys are, which name
    granule and place: all are of one size, and among 200 million many checksums meet by chance.
    """
    if corpus is None:
        return None
    keys, prints = np.array(test.keys), test.fingerprints
    same = np.zeros(len(test), bool)
    for shard, rows in corpus.parts():  # one by one: the keys of all would fill the memory
        same |= np.isin(keys, np.array(shard.keys)[rows])
        if corpus.kind == IMAGES:
            same |= np.isin(prints, shard.fingerprints[rows])
    return int(same.sum())


def split_digest(splits: dict[str, Corpus]) -> str:
    """What is trained and judged on: the digest of every sample's key and class by split."""
    return digest(
        {
            name: sorted(
                [key, corpus.classes[label]]
                for key, label in zip(corpus.keys, corpus.labels, strict=True)
            )
            for name, corpus in splits.items()
        }
    )


def check_recipe(recipe: dict[str, Any]) -> None:
    """Refuse what would fail later or silently do nothing.

    Raises:
        UserError: Another protocol, no seed, no strength, or a held-out share outside (0, 1).
    """
    if recipe["protocol"] != PROTOCOL:
        raise UserError(f"probe: protocol is {recipe['protocol']!r}; known is {PROTOCOL!r}")
    for name in ("seeds", "strengths"):
        if not recipe[name]:
            raise UserError(f"probe: {name} is empty; give one or more")
    if not 0 < recipe["holdout"] < 1:
        raise UserError(f"probe: holdout is {recipe['holdout']}; use a share between 0 and 1")


def device_of(asked: str) -> str:
    """`cpu` or `cuda`; for `auto`, what this host has."""
    if asked != "auto":
        return asked
    return "cuda" if torch.cuda.is_available() else "cpu"


def judge_encoder(
    encoder: nn.Module,
    splits: dict[str, Corpus],
    *,
    model: dict[str, Any],
    recipe: dict[str, Any],
    seeds: list[int],
    device: str,
    threads: int,
) -> list[dict[str, Any]]:
    """The protocol on one encoder, once a seed."""
    size = recipe["image_size"] or model["image_size"]
    set_image_size(encoder, model, size)
    features = Features(encoder, pooling=recipe["pooling"], layers=recipe["layers"])
    found = {
        name: Split(
            extract(corpus, features, model=model, size=size, device=device, threads=threads),
            corpus.labels,
        )
        for name, corpus in splits.items()
    }
    return [linear_probe(found["train"], found["test"], recipe=recipe, seed=s) for s in seeds]


def both(
    encoder: nn.Module,
    splits: dict[str, Corpus],
    *,
    model: dict[str, Any],
    recipe: dict[str, Any],
    device: str,
    threads: int,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The protocol on the trained encoder and on untrained ones, once a seed."""
    # Batches in parallel, each in one thread: sums then round the same for any number of threads.
    torch.set_num_threads(1)
    common: dict[str, Any] = {
        "model": model, "recipe": recipe, "device": device, "threads": threads,
    }  # fmt: skip
    log.info("the trained encoder")
    trained = judge_encoder(encoder, splits, seeds=recipe["seeds"], **common)
    untrained = []
    for seed in recipe["seeds"]:
        log.info("random weights, seed %d", seed)
        floor = random_encoder(model["encoder"], model["channels"], seed)
        untrained += judge_encoder(floor, splits, seeds=[seed], **common)
    return trained, untrained


def probe(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Write the probe's result and its provenance."""
    check_recipe(recipe)
    model, encoder = load_model(arguments.run)
    index = read_json(arguments.index)
    run, benchmark = arguments.run.name, recipe["benchmark"]
    check_fits(model, index, run=run, benchmark=benchmark)
    device = device_of(arguments.device)
    log.info("encoders run on %s", device)
    splits = {name: Corpus(arguments.index, name) for name in ("train", "test")}
    classes = splits["train"].classes
    check_labels(splits["train"].labels, splits["test"].labels, classes)
    corpus = Corpus(arguments.corpus) if arguments.corpus else None

    trained, untrained = both(
        encoder, splits, model=model, recipe=recipe, device=device,
        threads=arguments.threads,
    )  # fmt: skip
    body = {
        "run": run,
        "benchmark": benchmark,
        "synthetic": bool(recipe["synthetic"] or model["synthetic"]),
        "protocol": PROTOCOL,
        "layer": "last block, after the final norm"
        if recipe["layers"] == 1
        else f"last {recipe['layers']} blocks, each after the final norm",
        "pooling": recipe["pooling"],
        "normalisation": recipe["normalisation"],
        "image_size": recipe["image_size"] or model["image_size"],
        "split_digest": split_digest(splits),
        "seeds": recipe["seeds"],
        "classes": classes,
        "n_train": len(splits["train"]),
        "n_test": len(splits["test"]),
        "encoder": summarise(trained, classes),
        "random": summarise(untrained, classes),
        "overlap": overlap(splits["test"], corpus),
    }
    inputs = {
        "model": file_sha256(arguments.run / "model.json"),
        "weights": file_sha256(arguments.run / "weights.safetensors"),
        "benchmark": index["content"],
        **({"corpus": corpus.index["content"]} if corpus else {}),
    }
    write_result(
        arguments.output,
        stamp=stamp("probe", recipe, inputs),
        body=body,
        facts={"device": device, "threads": arguments.threads},
    )
    top1 = [body[who]["top1"]["mean"] for who in ("encoder", "random")]
    log.info("%s on %s: top-1 %.1f %%, random weights %.1f %%", run, benchmark, *top1)


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """The stage, one at a time for an output."""
    with exclusive(arguments.output):
        probe(arguments, recipe)


if __name__ == "__main__":
    parser = stage_parser("probe", __doc__)
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument("--index", type=Path, required=True, help="the benchmark's index.json")
    parser.add_argument("--output", type=Path, required=True, help="the result JSON")
    parser.add_argument(
        "--corpus", type=Path, help="index.json of the run's corpus, to count shared test samples"
    )
    parser.add_argument(
        "--device", default="cpu", choices=["cpu", "cuda", "auto"],
        help="where encoders run; auto: on a GPU if there is one (default: cpu)",
    )  # fmt: skip
    parser.add_argument(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="batches encoded at a time (default: the cores at hand)",
    )
    run_stage(parser, work)
