"""What every counter and every gauge is, and how a library that may not be there is imported."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A counter of joules; `read` raises an exception when it cannot be read.

    Attributes:
        every_s: Seconds from one value to the next; over less, it tells nothing.
    """

    name: str
    read: Callable[[], float]
    every_s: float = 0.0


class Load(NamedTuple):
    """How busy a device is.

    Attributes:
        utilisation: Share of the time (0 to 1) that it worked; NaN where it is not told.
        memory: Bytes of it that are in use; NaN where that is not told.
    """

    utilisation: float = math.nan
    memory: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """What tells of a device's load; `read` raises an exception when it cannot be read."""

    name: str
    read: Callable[[], Load]


_Read = TypeVar("_Read", Counter, Gauge)


def working(source: _Read) -> _Read | None:
    """The counter or gauge, if it can be read."""
    try:
        source.read()
    except Exception:  # each library has errors of its own
        return None
    return source


def optional(module: str) -> Any:
    """A module, or None where it is not installed, or the vendor's library behind it is not."""
    try:
        return importlib.import_module(module)
    except Exception:  # amdsmi raises OSError or KeyError where it does not find its library
        return None


def number(value: Any, scale: float = 1.0) -> float:
    """A number times a scale; NaN for what a library says instead of one (`N/A`, None)."""
    try:
        return float(value) * scale
    except (TypeError, ValueError):
        return math.nan
