"""In which order protocols are told."""

from collections.abc import Iterable

ORDER = ("linear", "lars", "ridge", "knn", "few_shot", "finetune")


def _place(name: str) -> tuple[int, int, str]:
    kind, _, shots = name.rpartition("_")
    if shots.isdigit() and kind in ORDER:
        return ORDER.index(kind), int(shots), name
    return (ORDER.index(name) if name in ORDER else len(ORDER)), 0, name


def in_order(protocols: Iterable[str]) -> list[str]:
    """Protocols in the order of every table: `few_shot_5` before `few_shot_10`, new ones last."""
    return sorted(protocols, key=_place)
