"""Make splits: on which side of each an item stands. Identical files never stand on two sides."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.splits import split_by_fraction
from workflow_scripts.logs import log
from workflow_scripts.split.items import Items
from workflow_scripts.split.lists import Sides, read_lists
from workflow_scripts.split.table import SIDES

# What becomes of identical files that a list, or the dataset, puts on two sides.
LEAVE_OUT, MOVE, REFUSE = "leave_out", "test", "refuse"
_PROTECTION = {name: number for number, name in enumerate(SIDES)}  # test, val, train
_SHOWN = 5


@dataclass(kw_only=True)
class Made:
    """A split.

    Attributes:
        name: Its column in the table.
        sides: Side of each item, or empty.
        how: How it was made, for the JSON.
        left_out: How many items lost their side, by reason.
    """

    name: str
    sides: list[str]
    how: dict[str, Any]
    left_out: dict[str, int]


def make_splits(items: Items, recipe: dict[str, Any]) -> list[Made]:
    """The splits of a benchmark.

    Items without a class stand on no side. Identical files share one where the split is drawn by
    fraction; where the dataset or a list puts them on two, `identical` says what becomes of them:
    `leave_out` (default) keeps those of the most protected side (test, then val, then train) and
    takes the others out of the split, `test` moves these to that side, `refuse` ends with an
    error.

    Args:
        items: The images of the dataset.
        recipe: With `benchmark`, `dataset` and `split`: {"by": "dataset"}, {"by": "fraction",
            "train", "val", "test" (None: the rest), "seeds", "stratified"} or {"by": "lists",
            "files"}; the first and the last may have `identical`.

    Raises:
        UserError: The dataset has no split of its own, a list does not fit it, or fractions that
            are impossible.
    """
    spec = recipe["split"]
    if spec["by"] == "fraction":
        return _by_fraction(items, spec, recipe["benchmark"])
    policy = spec.get("identical", LEAVE_OUT)
    if policy not in (LEAVE_OUT, MOVE, REFUSE):
        raise UserError(f"split.identical is {policy!r}; expected {LEAVE_OUT}, {MOVE} or {REFUSE}")
    if spec["by"] == "dataset":
        if not any(items.own):
            raise UserError(
                f"benchmark {recipe['benchmark']}: dataset {recipe['dataset']} has no split of its "
                f"own; write one into benchmarks.{recipe['benchmark']}.split, such as "
                "{by: fraction, train: 0.5, seeds: [0, 1, 2]}, or the dataset's own into "
                f"datasets.{recipe['dataset']}.split"
            )
        found = [Sides("dataset", {}, list(items.own))]
    elif spec["by"] == "lists":
        found = read_lists(items, spec["files"])
    else:
        raise UserError(f"split.by is {spec['by']!r}; expected dataset, fraction or lists")
    copies = _copies(items)
    return [_settled(one, items, copies, by=spec["by"], policy=policy) for one in found]


def _by_fraction(items: Items, spec: dict[str, Any], benchmark: str) -> list[Made]:
    """One split a seed."""
    stratified = spec.get("stratified", True)
    if stratified and items.multi_label:
        raise UserError(
            f"benchmark {benchmark}: its images have several labels each, so that no split is "
            f"stratified by class; write `stratified: false` into benchmarks.{benchmark}.split"
        )
    shares = {name: spec.get(name, 0.0) for name in SIDES}
    if shares["test"] is None:
        shares["test"] = max(0.0, 1.0 - shares["train"] - shares["val"])
    rows = [row for row, label in enumerate(items.labels) if label]
    made = []
    for seed in spec["seeds"]:
        chosen = split_by_fraction(
            ((items.contents[row], items.labels[row] if stratified else None) for row in rows),
            shares,
            seed=seed,
        )
        sides = [""] * len(items.keys)
        for row, side in zip(rows, chosen, strict=True):
            sides[row] = side or ""
        how = {"by": "fraction", **shares, "seed": seed, "stratified": stratified}
        left_out = _only_counts({"no class": len(items.keys) - len(rows)})
        made.append(Made(name=f"seed-{seed}", sides=sides, how=how, left_out=left_out))
    return made


def _copies(items: Items) -> list[list[int]]:
    """Rows of the items of each content that several have."""
    first: dict[str, int] = {}
    more: defaultdict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(items.contents):
        if first.setdefault(content, row) != row:
            more[content].append(row)
    return [[first[content], *rows] for content, rows in more.items()]


def _settled(one: Sides, items: Items, copies: list[list[int]], *, by: str, policy: str) -> Made:
    """A split in which no item without a class has a side, and no content two."""
    unlabelled = 0
    for row, label in enumerate(items.labels):
        if not label and one.sides[row]:
            one.sides[row] = ""
            unlabelled += 1
    crossing = 0
    for rows in copies:
        found = {one.sides[row] for row in rows} - {""}
        if len(found) < 2:
            continue
        if policy == REFUSE:
            listed = ", ".join(f"{items.keys[row]} ({one.sides[row] or 'none'})" for row in rows)
            raise UserError(
                f"split {one.name!r}: identical files stand on two sides: {listed}; take one out, "
                f"or write `identical: {LEAVE_OUT}`"
            )
        kept = max(found, key=_PROTECTION.__getitem__)
        for row in rows:
            if one.sides[row] not in ("", kept):
                if crossing < _SHOWN:
                    log.warning("split %s: %s (%s) is identical with an image for %s", one.name,
                                items.keys[row], one.sides[row], kept)  # fmt: skip
                one.sides[row] = kept if policy == MOVE else ""
                crossing += 1
    if crossing:
        fate = "moved to its side" if policy == MOVE else "left out of the split"
        log.warning("split %s: %d such images, each %s", one.name, crossing, fate)
    if unlabelled:
        log.warning("split %s: %d images have no class and were left out", one.name, unlabelled)
    reason = "copy on a less protected side"
    how = {"by": by, "identical": policy, **one.how}
    if policy == MOVE and crossing:
        how["moved"] = crossing
    left_out = {"no class": unlabelled, reason: 0 if policy == MOVE else crossing}
    return Made(name=one.name, sides=one.sides, how=how, left_out=_only_counts(left_out))


def _only_counts(counts: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}
