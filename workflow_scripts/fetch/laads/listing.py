"""A day's listing of one product, in either of the forms that the archive has used.

The older is a list of {"name", "last-modified", "size"}, with sizes as text and folders of size 0;
the newer is {"content": [...]} of {"name", "size", "md5sum", "downloadsLink", …}. Where a file lies
is taken from its name: a link of the answer might lead to another host.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.laads.archive import Reader, read_json
from workflow_scripts.modis.products import PREFIX, parse_name

SetAside = dict[str, str]

_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A file that the archive has: its name, start (UTC), size, MD5 if told, and where it lies.

    `address` is below the archive's own.
    """

    name: str
    time: datetime
    bytes: int
    md5: str | None
    address: str


def product_folder(collection: int, *, platform: str, product: str, day: date) -> str:
    """Where the archive keeps a day of a product, such as `allData/61/MOD021KM/2026/001`."""
    return f"allData/{collection}/{PREFIX[platform]}{product}/{day:%Y/%j}"


def read_listing(
    client: Reader, url: str, collection: int, *, platform: str, product: str, day: date
) -> tuple[dict[datetime, Listed], list[SetAside]]:
    """The files of one product and day.

    Args:
        client: What asks.
        url: The archive's address.
        collection: Such as 61.
        platform: `Terra` or `Aqua`.
        product: As in `modis.products`, such as `021KM`.
        day: The day.

    Returns:
        The newest file of each time, in the order of time (nothing where the archive has no such
        day), and what is set aside as {"key", "reason"}.

    Raises:
        UserError: The answer is no listing, or the token is refused.
    """
    folder = product_folder(collection, platform=platform, product=product, day=day)
    address = f"{url.rstrip('/')}/{folder}.json"
    found: dict[datetime, Listed] = {}
    aside: list[SetAside] = []
    for name, size, md5 in sorted(_files(read_json(client, address), address), key=_newest_last):
        reason = _stranger(name, collection, platform=platform, product=product, day=day)
        if reason is not None:
            aside.append({"key": name, "reason": reason})
            continue
        time = parse_name(name).time
        if time in found:
            aside.append({"key": found[time].name, "reason": "a newer version of it is there"})
        found[time] = Listed(name=name, time=time, bytes=size, md5=md5, address=f"{folder}/{name}")
    return dict(sorted(found.items())), sorted(aside, key=lambda row: row["key"])


def _newest_last(file: tuple[str, int, str | None]) -> tuple[str, str]:
    """Collection and time of production are the last parts of a name."""
    parts = file[0].split(".")
    return ".".join(parts[3:]), file[0]


def _files(answer: Any, address: str) -> list[tuple[str, int, str | None]]:
    """Name, size and MD5 of the files of a listing, of whichever form; folders are left out."""
    rows = answer.get("content") if isinstance(answer, dict) else answer
    if rows is None and not isinstance(answer, dict):
        return []
    if not isinstance(rows, list):
        raise UserError(
            f"{address}: expected a list of files or an object with `content`, not "
            f"{str(answer)[:80]!r}"
        )
    files = []
    for row in rows:
        try:
            name, size = str(row["name"]), int(row["size"])
        except (TypeError, KeyError, ValueError):
            raise UserError(
                f"{address}: expected each file with its name and its size in bytes, not "
                f"{str(row)[:120]!r}"
            ) from None
        md5 = str(row.get("md5sum") or "").lower()
        if size > 0:
            files.append((name, size, md5 if _MD5.fullmatch(md5) else None))
    return files


def _stranger(name: str, collection: int, *, platform: str, product: str, day: date) -> str | None:
    """Why a file is none of the product and day; None if it is one."""
    if "/" in name:
        return "not a file name"
    try:
        found = parse_name(name)
    except UserError:
        return "not the name of a MODIS granule"
    wanted = (product, platform, day, f"{collection:03d}")
    seen = (found.product, found.platform, found.time.date(), found.collection)
    if seen != wanted:
        return (
            f"listed with {PREFIX[platform]}{product} of {day}, collection {collection:03d}, but "
            "its name is that of another product, day or collection"
        )
    return None
