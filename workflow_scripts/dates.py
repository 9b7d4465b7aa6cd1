"""Lists of days as short text: `2003-01-01/2003-12-31,2004-02-29`, ranges with both ends in.

Twenty years of days fit a recipe, which travels on a command line.
"""

import datetime
from collections.abc import Iterable

_DAY = datetime.timedelta(days=1)


def compress(days: Iterable[str]) -> str:
    """ISO days, in any order, as ranges.

    Raises:
        ValueError: Not an ISO day.
    """
    runs: list[list[datetime.date]] = []
    for day in sorted({datetime.date.fromisoformat(text) for text in days}):
        if runs and day - runs[-1][1] == _DAY:
            runs[-1][1] = day
        else:
            runs.append([day, day])
    return ",".join(f"{a}" if a == b else f"{a}/{b}" for a, b in runs)


def expand(ranges: str) -> list[str]:
    """The days of `compress`'s text, in order.

    Raises:
        ValueError: Not such a text.
    """
    days: list[str] = []
    for part in filter(None, ranges.split(",")):
        first, slash, last = part.partition("/")
        day = datetime.date.fromisoformat(first)
        end = datetime.date.fromisoformat(last) if slash else day
        if day > end:
            raise ValueError(f"{part}: ends before it begins")
        while day <= end:
            days.append(day.isoformat())
            day += _DAY
    return days
