"""Splits by fraction: class by class, never with the same file on two sides, and lasting.

Items are ordered by a hash of (seed, content) and the order is cut at the fractions. So the split
does not depend on names or on the order of the files, and a new image shifts a cut by one place:
few others move.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

from workflow_scripts.errors import UserError

SPLITS = ("train", "val", "test")
T = TypeVar("T")

_ROUNDING = 1e-9  # fractions such as 0.7 + 0.2 + 0.1 sum to a little more than 1


def check_fractions(fractions: dict[str, float]) -> None:
    """Refuse fractions that are negative or sum to more than 1.

    Raises:
        UserError: Naming them.
    """
    total = sum(fractions.values())
    if min(fractions.values()) < 0 or total > 1 + _ROUNDING:
        listed = ", ".join(f"{name} {value:g}" for name, value in fractions.items())
        raise UserError(
            f"split fractions {listed} sum to {total:g}: none may be negative and the sum may be "
            "at most 1 (what is left over belongs to no split)"
        )


def split_by_fraction(
    items: Iterable[tuple[str, str | None]],
    fractions: dict[str, float],
    *,
    seed: int,
) -> list[str | None]:
    """The split of each item.

    Args:
        items: (sha256 of the content, class) of each item; with one class for all (None, say) the
            division is not stratified.
        fractions: Share of `train`, `val` and `test` in each class; a missing one is 0. A class of
            n items is cut at the whole numbers nearest to n × train, n × (train + val) and so on.
        seed: Another seed, another split.

    Returns:
        Split names in the order of the items; None for what the fractions leave over. Items of
        the same content share one, also where their classes differ.

    Raises:
        UserError: The fractions sum to more than 1.
    """
    check_fractions(fractions)
    items = list(items)
    copies: defaultdict[str, int] = defaultdict(int)
    class_by_content: dict[str, str] = {}
    for content, label in items:
        copies[content] += 1
        # Copies in two classes count with the first class by name.
        class_by_content[content] = min(class_by_content.get(content, label or ""), label or "")
    members: defaultdict[str, list[str]] = defaultdict(list)
    for content, label in class_by_content.items():
        members[label].append(content)
    chosen: dict[str, str | None] = {}
    for contents in members.values():
        contents.sort(key=lambda content: place(content, seed))
        total = sum(copies[content] for content in contents)
        chosen.update(cut(((one, copies[one]) for one in contents), total, fractions))
    return [chosen[content] for content, _ in items]


def cut(
    contents: Iterator[tuple[T, int]], total: int, fractions: dict[str, float]
) -> Iterator[tuple[T, str | None]]:
    """Cut one class.

    Args:
        contents: Its distinct contents in the order of their places, with the number of copies of
            each; others may follow, and are not taken.
        total: Number of all copies in the class.
        fractions: As `split_by_fraction` takes them.

    Returns:
        Each content with its split.
    """
    ends, share = [], 0.0
    for name in SPLITS:
        share += float(fractions.get(name, 0.0))
        ends.append((name, math.floor(share * total + 0.5 + _ROUNDING)))
    start = 0
    while start < total:
        content, copies = next(contents)
        yield content, next((name for name, end in ends if start < end), None)
        start += copies


def place(content: str, seed: int) -> str:
    """Where a content, by its sha256, stands in the order that is cut."""
    return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()
