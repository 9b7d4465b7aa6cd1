"""What differs between two recipes, in words."""

from typing import Any


def differences(stored: Any, current: Any, key: str = "") -> list[str]:
    """What differs between two recipes, as `optim.base_lr 0.001 → 0.002`."""
    if isinstance(stored, dict) and isinstance(current, dict):
        out = []
        for name in sorted({*stored, *current}):
            inner = f"{key}.{name}" if key else name
            if name not in stored:
                out.append(f"{inner} is new ({_short(current[name])})")
            elif name not in current:
                out.append(f"{inner} is gone (was {_short(stored[name])})")
            else:
                out += differences(stored[name], current[name], inner)
        return out
    return [] if stored == current else [f"{key} {_short(stored)} → {_short(current)}"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
