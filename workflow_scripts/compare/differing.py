"""What differs between several settings: keys, and the value that each of them has."""

import json
from collections.abc import Sequence
from typing import Any

ABSENT = "–"  # where a key is not there
_MOST = 200  # characters of a value

Json = dict[str, Any]


def flattened(value: Any, key: str = "") -> dict[str, Any]:
    """`{"optim": {"lr": 1}}` → `{"optim.lr": 1}`; lists and empty dictionaries stay values."""
    if not isinstance(value, dict) or (key and not value):
        return {key: value}
    return {
        name: inner
        for part, below in value.items()
        for name, inner in flattened(below, f"{key}.{part}" if key else str(part)).items()
    }


def differing(settings: Sequence[Json]) -> list[tuple[str, list[str]]]:
    """Keys whose values are not the same in all, sorted, with the value in each as text."""
    flat = [flattened(one) for one in settings]
    rows = []
    for key in sorted({key for one in flat for key in one}):
        values = [_text(one[key]) if key in one else ABSENT for one in flat]
        if len({json.dumps(one[key], sort_keys=True) if key in one else None for one in flat}) > 1:
            rows.append((key, values))
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"
