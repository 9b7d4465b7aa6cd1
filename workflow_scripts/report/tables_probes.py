"""Tables of probes: by benchmark, with floors and published numbers, and over benchmarks (ARP)."""

from collections.abc import Sequence
from dataclasses import dataclass

from workflow_scripts.errors import UserError
from workflow_scripts.probe.arp import by_protocol
from workflow_scripts.probe.protocol_order import in_order
from workflow_scripts.probe.reading import (
    Json,
    chosen_text,
    metrics,
    overlaps,
    protocol_title,
    signed,
    split_digests,
    spread,
)
from workflow_scripts.published import published, trained_on
from workflow_scripts.report.probe_data import ProbeData
from workflow_scripts.report.tables import SHORT


def rows(probe: ProbeData) -> list[Json]:
    """A row for each protocol that an encoder was judged by."""
    main, other = (key for key, _ in metrics(probe.results[0]))
    found = []
    for protocol, result in probe.protocols.items():
        judged = result["protocols"][protocol]["judged"]
        cells = [("encoder", main), ("encoder", other), ("random", main), ("mean-colour", main)]
        found.append(
            {
                "protocol": protocol_title(protocol),
                "cells": [spread(judged.get(who, {}).get(metric)) for who, metric in cells],
                "splits": ", ".join(digest[:SHORT] for _, digest in split_digests(result)),
            }
        )
    return found


def seen(probe: ProbeData) -> Json | None:
    """What of the benchmark the encoder saw in pretraining: a short mark and a sentence.

    None where it saw nothing of it.
    """
    shared = overlaps(probe.results[0])
    if not shared["known"]:
        return {
            "mark": "pretraining data unknown",
            "loud": False,
            "text": f"What {probe.label} was pretrained on is not known here: it may have seen "
            "these images.",
        }
    if not shared["test"] and not shared["train"]:
        return None
    parts = [
        f"{shared[side]:,} of {shared[f'{side}_of']:,} {name} images"
        for side, name in (("test", "test"), ("train", "training"))
        if shared[side]
    ]
    tail = (
        ": this is not its accuracy on unseen images" if shared["test"] else ", and no test image"
    )
    return {
        "mark": "test images seen" if shared["test"] else "training images seen",
        "loud": bool(shared["test"]),
        "text": f"{probe.label} saw {' and '.join(parts)} in pretraining{tail}.",
    }


def splits(probes: Sequence[ProbeData]) -> list[Json]:
    """The different splits that these probes were judged on."""
    found = {
        (split["name"], split["digest"]): split
        for probe in probes
        for result in probe.results
        for split in result["splits"]
    }
    return [
        {
            "name": name,
            "digest": digest[:SHORT],
            "train": f"{split['n_train']:,}",
            "test": f"{split['n_test']:,}",
        }
        for (name, digest), split in found.items()
    ]


def same_splits(probes: Sequence[ProbeData]) -> bool:
    """Whether all rows of a table are of the same splits."""
    return len({tuple(split_digests(r)) for probe in probes for r in probe.results}) == 1


def how(probe: ProbeData) -> list[tuple[str, str]]:
    """How an encoder was judged, line by line: the last lines are what was chosen."""
    lines = []
    for result in probe.results:
        tuned = list(result["protocols"]) == ["finetune"]
        what = " (fine-tuning)" if tuned else ""
        lines.append((f"image size{what}", f"{result['image_size']} px"))
        if not tuned:
            lines.append(("features of", result["layer"]))
        lines.append((f"seeds{what}", ", ".join(map(str, result["seeds"]))))
    for protocol in probe.protocols:
        verdict = probe.verdict(protocol) or {"chosen": []}
        if text := chosen_text(verdict["chosen"]):
            lines.append((f"chosen, {protocol_title(protocol)}", text))
    return lines


@dataclass(frozen=True, kw_only=True)
class ArpRow:
    """ARP of an encoder by one protocol: `tasks` count, `left_out` do not and says why."""

    encoder: str
    label: str
    protocol: str
    percent: float
    tasks: str
    left_out: str
    synthetic: bool


def arp_rows(probes: Sequence[ProbeData], baseline: str) -> list[ArpRow]:
    """ARP of every other encoder by protocol.

    Raises:
        UserError: The baseline was judged on nothing, or a score of it is zero.
    """
    labels = {probe.encoder: probe.label for probe in probes}
    if probes and baseline not in labels:
        raise UserError(
            f"report: arp_baseline is {baseline!r}, which no benchmark of the report judges; they "
            f"judge {', '.join(labels)}"
        )
    results = [result for probe in probes for result in probe.results]
    synthetic = {probe.encoder for probe in probes if probe.synthetic}
    names = {probe.benchmark: probe.benchmark_label for probe in probes}
    rows = []
    for encoder in labels:
        if encoder == baseline:
            continue
        by_name = by_protocol(results, encoder=encoder, baseline=baseline)
        for protocol in in_order(by_name):
            found = by_name[protocol]
            rows.append(
                ArpRow(
                    encoder=encoder,
                    label=labels[encoder],
                    protocol=protocol_title(protocol),
                    percent=found.percent,
                    tasks=", ".join(names[task] for task in found.tasks),
                    left_out="; ".join(f"{names[t]}: {why}" for t, why in found.left_out),
                    synthetic=encoder in synthetic,
                )
            )
    return rows


def arp_table(probes: Sequence[ProbeData], baseline: str | None) -> Json | None:
    """ARP of every encoder by protocol; None without a baseline or without another encoder.

    Raises:
        UserError: As `arp_rows`.
    """
    rows = arp_rows(probes, baseline) if baseline is not None else []
    if not rows:
        return None
    labels = {probe.encoder: probe.label for probe in probes}
    return {
        "baseline": labels[str(baseline)],
        "rows": [
            {
                "name": row.encoder,
                "encoder": row.label,
                "protocol": row.protocol,
                "value": signed(row.percent),
                "tasks": row.tasks,
                "left_out": row.left_out,
            }
            for row in rows
        ],
        "published": [{**row, "data": trained_on(row)} for row in published("arp")],
    }
