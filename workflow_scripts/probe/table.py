"""A table of probes' results for the terminal: what was found, beside floors and published numbers.

python -m workflow_scripts.probe.table results/probes/ucm-mae/ucm.json … [--baseline imagenet]
"""

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.probe.arp import by_protocol
from workflow_scripts.probe.protocol_order import in_order
from workflow_scripts.probe.reading import (
    Json,
    chosen_text,
    judged,
    metrics,
    overlaps,
    protocol_title,
    read_result,
    signed,
    split_digests,
    spread,
)
from workflow_scripts.published import key_of, published, trained_on, value

WIDTH = 100
SHORT = 12  # digits of a digest that are shown
MOST_NAME = 24  # letters of an encoder's name; longer ones are cut in the middle

Row = tuple[str, ...]


def cut(text: str, most: int) -> str:
    """A text of at most `most` letters; of a longer one both ends, which hold run and step."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def aligned(rows: Sequence[Row], left: int) -> list[str]:
    """Rows in columns two spaces apart: the first `left` begin together, the others end so."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def wrapped(text: str, indent: int) -> list[str]:
    """A text in lines of at most `WIDTH` letters, all but the first moved to the right."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)


def marks(result: Json) -> str:
    """`!` test images were pretrained on, `t` training images were, `?` unknown, `s` synthetic."""
    shared = overlaps(result)
    told = "!" if shared["test"] else "t" if shared["train"] else "" if shared["known"] else "?"
    return told + ("s" if result["synthetic"] else "")


def explained(results: Sequence[Json]) -> Iterator[str]:
    """A line for each mark that these results carry."""
    for result in results:
        shared, name = overlaps(result), result["encoder"]
        if shared["test"] or shared["train"]:
            yield (
                f"{'!' if shared['test'] else 't'}  {name} saw {shared['test']:,} of "
                f"{shared['test_of']:,} test and {shared['train']:,} of {shared['train_of']:,} "
                "training images in pretraining"
                + (": no accuracy on unseen images" if shared["test"] else "")
            )
    unknown = [r["encoder"] for r in results if not overlaps(r)["known"]]
    if unknown:
        yield f"?  what {', '.join(dict.fromkeys(unknown))} was pretrained on is not known here"
    if any(result["synthetic"] for result in results):
        yield "s  synthetic: of generated data; says that the machinery works, nothing of the Earth"


def grouped(results: Sequence[Json]) -> list[list[Json]]:
    """Results of the same benchmark, splits and kind of label, together."""
    groups: dict[tuple[object, ...], list[Json]] = {}
    for result in results:
        key = (result["benchmark"], tuple(split_digests(result)), result["multi_label"])
        groups.setdefault(key, []).append(result)
    return list(groups.values())


def heading(results: Sequence[Json]) -> Iterator[str]:
    """The benchmark, and its splits with sizes and digests."""
    first = results[0]
    labels = "several labels a sample" if first["multi_label"] else "one label a sample"
    yield f"{first['benchmark']}: {len(first['classes'])} classes, {labels}"
    for split in first["splits"]:
        yield (
            f"  split {split['name']}: {split['n_train']:,} training and {split['n_test']:,} test "
            f"samples, digest {split['digest'][:SHORT]}"
        )


def main_table(results: Sequence[Json]) -> list[str]:
    """A row for each encoder × protocol: both metrics, floors, marks."""
    main, other = metrics(results[0])
    rows: list[Row] = [
        ("", "encoder", "protocol", f"{main[1]}, %", f"{other[1]}, %", "random", "mean colour")
    ]
    for result in results:
        for protocol in in_order(result["protocols"]):
            found = [
                spread(judged(result, protocol, who, metric))
                for who, metric in (
                    ("encoder", main[0]), ("encoder", other[0]),
                    ("random", main[0]), ("mean-colour", main[0]),
                )
            ]  # fmt: skip
            rows.append(
                (marks(result), cut(result["encoder"], MOST_NAME), protocol_title(protocol), *found)
            )
    lines = aligned(rows, left=3)
    lines.insert(1, "-" * max(map(len, lines)))
    return lines


def choices(results: Sequence[Json]) -> Iterator[str]:
    """What was chosen for each encoder × protocol, and at which image size and layers."""
    for result in results:
        name = cut(result["encoder"], MOST_NAME)
        seeds = ", ".join(map(str, result["seeds"]))
        yield from wrapped(
            f"  {name}: {result['image_size']} px; {result['layer']}; seeds {seeds}", 6
        )
        for protocol in in_order(result["protocols"]):
            chosen = result["protocols"][protocol]["judged"]["encoder"]["chosen"]
            if text := chosen_text(chosen):
                yield from wrapped(f"    {protocol_title(protocol)}: {text}", 8)


def references(key: str | None) -> Iterator[str]:
    """Published numbers of a benchmark's key, by their sources."""
    rows = published(key)
    if not rows:
        return
    yield "Published, of other data, splits and protocols: context, not a comparison"
    sources = list(dict.fromkeys((row["source"], row["link"], row["metric"]) for row in rows))
    width = max(len(value(row)) for row in rows)
    for row in rows:
        told = [row["model"], trained_on(row), row["protocol"] or "protocol not stated"]
        told.append(row["split"] or "split not stated")
        source = sources.index((row["source"], row["link"], row["metric"])) + 1
        text = f"  [{source}]  {value(row):<{width}}  {'; '.join(told)}"
        yield from wrapped(text, width + 9)
    for number, (source, link, metric) in enumerate(sources, 1):
        yield from wrapped(f"  [{number}] {metric}: {source}" + (f", {link}" if link else ""), 6)
    for note in dict.fromkeys(row["note"] for row in rows if row["note"]):
        yield from wrapped(f"  {note}", 2)


def arp_lines(results: Sequence[Json], baseline: str) -> Iterator[str]:
    """ARP of every other encoder against the baseline, and what does not count in it."""
    encoders = list(dict.fromkeys(result["encoder"] for result in results))
    if baseline not in encoders:
        yield f"No ARP: the baseline {baseline} is not among these encoders"
        return
    yield f"Average relative performance against {baseline}, % (GFM's formula)"
    rows, left_out = [("", "encoder", "protocol", "ARP", "tasks")], []
    for encoder in encoders:
        if encoder == baseline:
            continue
        for protocol, found in by_protocol(results, encoder=encoder, baseline=baseline).items():
            title = protocol_title(protocol)
            tasks = cut(", ".join(found.tasks), 40)
            rows.append(("", cut(encoder, MOST_NAME), title, signed(found.percent), tasks))
            left_out += [f"{encoder}, {title}: {task} {why}" for task, why in found.left_out]
    yield from aligned(rows, left=3)
    for text in left_out:
        yield from wrapped(f"  left out: {text}", 6)
    yield from references("arp")


def table(results: Sequence[Json], baseline: str | None = None) -> str:
    """All results as text of at most `WIDTH` columns.

    Args:
        results: As `read_result` returns them.
        baseline: An encoder; if it is among them, ARP is told against it.

    Raises:
        UserError: A score of the baseline is zero.
    """
    lines: list[str] = []
    for group in grouped(results):
        lines += [*heading(group), "", *main_table(group), ""]
        if notes := [line for text in explained(group) for line in wrapped(text, 3)]:
            lines += [*notes, ""]
        lines += ["How:", *choices(group), ""]
        lines += [*told, ""] if (told := list(references(key_of(group[0]["benchmark"])))) else []
    if baseline is not None:
        lines += [*arp_lines(results, baseline), ""]
    lines.append(
        "Mean ± sample standard deviation over splits and seeds; random: the encoder untrained"
    )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of the files on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow_scripts.probe.table",
        description="A table of probes' results.",
    )
    parser.add_argument("results", type=Path, nargs="*", help="results of probes, JSON")
    parser.add_argument("--baseline", help="an encoder to tell ARP against, if among them")
    asked = parser.parse_args(arguments)
    if not asked.results:  # the target of a benchmark that judges nothing comes here too
        sys.exit("no results to tell; name encoders in the benchmark, or give files of results")
    try:
        results = [read_result(path) for path in dict.fromkeys(asked.results)]
        text = table(results, asked.baseline)
    except UserError as error:
        sys.exit(str(error))
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
