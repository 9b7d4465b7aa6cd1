"""MODIS granules on disk: which files there are of each day, from a listing or from the folder.

The Snakefile asks for the days each time it is read: nothing heavy here. A day's digest changes
when one of its files comes, goes or is replaced, so that day alone is fetched and tiled again.

    python -m workflow_scripts.fetch.granules <folder>   prints the listing of a folder
"""

import functools
import hashlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.folder import files_below
from workflow_scripts.modis.products import FILE_NAME, L1B, PREFIX, parse_name

_YEAR, _DAY_OF_YEAR = re.compile(r"20\d\d"), re.compile(r"[0-3]\d\d")


def folder_lines(folder: Path) -> Iterator[str]:
    """A line for each MODIS file below a folder: path, size and time, with tabs between.

    Raises:
        UserError: A folder may not be read.
    """
    for file in files_below(folder, lambda name: FILE_NAME.fullmatch(name) is not None):
        yield f"{file.key}\t{file.bytes}\t{file.mtime_ns}"


def _listing_lines(listing: Path) -> Iterator[str]:
    try:
        with listing.open(encoding="utf-8") as file:
            yield from filter(None, (line.rstrip("\r\n") for line in file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{listing}: the listing of granules cannot be read ({error}); make it with "
            "python -m workflow_scripts.fetch.granules <folder>"
        ) from None


def _name(line: str) -> str:
    return line.partition("\t")[0].rpartition("/")[2]


@functools.cache
def listed_days(folder: Path, listing: str | None, platform: str) -> dict[str, str]:
    """Digest of the lines of each day that has a granule of a satellite, by ISO day, in order.

    Args:
        folder: The dataset's folder; a missing one has no days.
        listing: Text file that names the files; None looks through the folder.
        platform: `Terra` or `Aqua`.

    Raises:
        UserError: The listing cannot be read or names a file that is none of MODIS.
    """
    days: defaultdict[str, list[str]] = defaultdict(list)
    with_granule: set[str] = set()
    for line in _listing_lines(Path(listing)) if listing else folder_lines(folder):
        found = FILE_NAME.fullmatch(_name(line))
        if found is None:
            raise UserError(f"{listing}: {line[:80]!r} does not name a MODIS file")
        if found[1] == PREFIX[platform]:
            days[found[3]].append(line)
            if found[2] == L1B:
                with_granule.add(found[3])
    digests = {}
    for day in sorted(with_granule):
        total = hashlib.sha256("\n".join(sorted(days[day])).encode())
        digests[parse_name(_name(days[day][0])).time.date().isoformat()] = total.hexdigest()
    return digests


def find_day(
    folder: Path, listing: str | None, *, platform: str, day: str
) -> tuple[list[tuple[str, Path]], list[dict[str, str]]]:
    """The files of one day.

    Args:
        folder: The dataset's folder.
        listing: As in `listed_days`.
        platform: `Terra` or `Aqua`.
        day: ISO day.

    Returns:
        (key, path) of each, sorted by key, and those set aside as {"key", "reason"}: of files that
        differ only in version, the newest counts.

    Raises:
        UserError: The listing cannot be read.
    """
    date_ = date.fromisoformat(day)
    lines = _listing_lines(Path(listing)) if listing else folder_lines(folder)
    start = f".A{date_:%Y%j}."
    newest: dict[tuple[str, datetime], tuple[str, str, str]] = {}
    older = []
    for key in sorted({line.partition("\t")[0] for line in lines if start in _name(line)}):
        name = parse_name(key)
        if name.platform != platform:
            continue
        place, version = (name.product, name.time), (name.collection, name.production, key)
        if place in newest:
            version, other = max(version, newest[place]), min(version, newest[place])
            older.append({"key": other[2], "reason": "a newer version of it is there"})
        newest[place] = version
    keys = sorted(version[2] for version in newest.values())
    return [(key, folder / key) for key in keys], older


def no_granules(dataset: str, entry: dict[str, Any]) -> str:
    """What to tell who wants a dataset of which there is no granule.

    Args:
        dataset: Its name.
        entry: Its configuration: path, listing, platform, first, last, obtain.
    """
    product = PREFIX[entry["platform"]] + L1B
    where = entry["listing"] or entry["path"]
    seen = "names" if entry["listing"] else "holds"
    if not Path(where).exists():
        seen = "does not exist and so holds"
    span = f" from {entry['first'] or 'the beginning'} to {entry['last'] or 'the end'}"
    return (
        f"dataset {dataset}: {where} {seen} no {product} granule"
        f"{span if entry['first'] or entry['last'] else ''}.\n{entry.get('obtain', '')}\n"
        f"Put them below {entry['path']}, or set datasets.{dataset}.path to where they are."
    )


if __name__ == "__main__":
    for row in sorted(folder_lines(Path(sys.argv[1]))):
        sys.stdout.write(row + "\n")
