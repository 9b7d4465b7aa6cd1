"""How what was found differs from what a dataset should hold."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

_MOST = 10  # lines; a dataset laid out in another way would give thousands


def differences(
    expected: Mapping[str, Any] | None, class_counts: Mapping[str, int], items: int
) -> list[str]:
    """What differs, a line each, the totals first; nothing if all is as expected.

    Args:
        expected: `items`, `classes` and `per_class` (a number for every class, or one for each by
            name) of the recipe; each may be missing or None: not known.
        class_counts: Items of each class found; an item of several labels counts with each.
        items: Items found.

    Returns:
        Ten lines at most; then one says how many more there are.
    """
    expected = expected or {}
    lines = [
        f"{found:,} {what}, expected {expected[what]:,}"
        for what, found in (("items", items), ("classes", len(class_counts)))
        if expected.get(what) is not None and found != expected[what]
    ]
    lines += _of_classes(expected.get("per_class"), class_counts)
    if len(lines) > _MOST:
        lines[_MOST:] = [f"and {len(lines) - _MOST:,} more differences"]
    return lines


def _of_classes(
    per_class: int | Mapping[str, int] | None, class_counts: Mapping[str, int]
) -> list[str]:
    if per_class is None:
        return []
    wanted = per_class if isinstance(per_class, Mapping) else dict.fromkeys(class_counts, per_class)
    lines = []
    for name in sorted({*wanted, *class_counts}):
        found, right = class_counts.get(name), wanted.get(name)
        if right is None:
            lines.append(f"class {name}: {found:,} items, but no such class is expected")
        elif found is None:
            lines.append(f"class {name}: missing, expected {right:,} items")
        elif found != right:
            lines.append(f"class {name}: {found:,} items, expected {right:,}")
    return lines


def in_all_splits(class_counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Items of each class, from a summary's `class_counts` by split; `none` is no class."""
    total: Counter[str] = Counter()
    for counts in class_counts.values():
        total.update(counts)
    total.pop("none", None)
    return dict(sorted(total.items()))
