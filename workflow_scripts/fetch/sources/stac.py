"""Assets of the items that a STAC search finds.

`pystac-client` searches and turns the pages. The answer is kept in the dataset's folder: a
collection that grows does not change a dataset, and a second start does not search.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from pystac.link import HREF, Link
from pystac_client import Client
from pystac_client.conformance import ConformanceClasses
from pystac_client.stac_api_io import StacApiIO
from requests import Response

from workflow_scripts.digests import digest
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.sources import known
from workflow_scripts.fetch.sources.asking import patiently, without_netrc
from workflow_scripts.fetch.sources.https import host
from workflow_scripts.logs import log
from workflow_scripts.transfer.failures import (
    NETWORK_ERRORS,
    Failure,
    Final,
    of_error,
    of_status,
)
from workflow_scripts.transfer.remote import Remote, keeps_secrets, without_secrets
from workflow_scripts.transfer.settings import Settings

_A_PAGE = 250  # items; what an API gives without trouble
_MOST = 5_000_000  # items of a search: one that never ends ends here
_PLAIN_ID = re.compile(r"[^\x00-\x1f\x7f/\\.][^\x00-\x1f\x7f/\\]*")
_MULTIHASHES = {"1220": "sha256", "d50110": "md5"}  # https://github.com/multiformats/multicodec


class _Asking(StacApiIO):
    """pystac-client's requests with our limits: a time-out, more attempts, and the web alone."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(timeout=settings.timeouts, max_retries=None)
        self._settings = settings
        self._last: Response | None = None
        without_netrc(self.session)
        self.session.hooks["response"].append(self._keep)

    def _keep(self, response: Response, *_: Any, **__: Any) -> None:
        self._last = response

    def read_text(self, source: HREF, *args: Any, **kwargs: Any) -> str:
        """Read a document of the web; the library reads files of this machine as well."""
        address = source.href if isinstance(source, Link) else str(source)
        if urlsplit(address).scheme not in ("http", "https"):
            raise UserError(
                f"the STAC API names {address!r:.200} as an address; expected an http(s) URL"
            )
        return super().read_text(source, *args, **kwargs)

    def request(self, href: str, *args: Any, **kwargs: Any) -> str:
        """Ask, and again after failures that may pass."""
        return patiently(
            lambda: super(_Asking, self).request(href, *args, **kwargs),
            settings=self._settings,
            what=f"STAC API {without_secrets(href)}",
            failure=self._failure,
            answered=self._last is not None,
        )

    def _failure(self, error: Exception) -> Failure:
        """The library keeps the cause as a text; Python keeps it as the context."""
        if isinstance(error.__context__, NETWORK_ERRORS):
            return of_error(error.__context__, self._settings.timeout_s)
        if getattr(error, "status_code", None) and self._last is not None:
            return of_status(self._last)
        return Final(f"an answer that is not a STAC API's ({error!s:.200})")


def search(source: dict[str, Any], api: str, *, settings: Settings) -> dict[str, Any]:
    """Search, and take from each item what is to be fetched.

    Args:
        source: `collection`, `asset`, `bbox`, `first`, `last`, `query`, `most`.
        api: The API's address.
        settings: Of transfers.

    Returns:
        `files`: name, url, bytes, sha256 and md5 (null where not told) of each item's asset, by
        name; `without_asset`: ids of items that have none; `signed`: whether URLs have queries.
        Plain JSON.

    Raises:
        UserError: The API does not answer, or not as one; nothing is found; an item cannot be.
    """
    where = f"STAC API {api}"
    try:
        client = Client.open(api, stac_io=_Asking(settings))
        if source.get("query") and not client.conforms_to(ConformanceClasses.QUERY):
            raise UserError(
                f"{where}: it does not know the extension `query`, and would find what it "
                "excludes; take `query` out of the source"
            )
        found = client.search(
            collections=[source["collection"]],
            bbox=source.get("bbox"),
            datetime=_days(source.get("first"), source.get("last")),
            query=source.get("query") or None,
            limit=_A_PAGE,
        )
        items = _by_id(found.items_as_dicts(), source["collection"], where)
    except UserError:
        raise
    except Exception as error:  # what the library raises over an answer of another form
        raise UserError(
            f"{where}: the answer is not that of a STAC API with a search "
            f"({type(error).__name__}: {error!s:.200}); look at `api`"
        ) from None
    return _taken(source, items, where)


def _days(first: str | None, last: str | None) -> str | None:
    return f"{first or '..'}/{last or '..'}" if first or last else None


def _by_id(items: Iterator[Any], collection: str, where: str) -> dict[str, dict[str, Any]]:
    """Items by their ids; pages may overlap."""
    found: dict[str, dict[str, Any]] = {}
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise UserError(f"{where}: item {number} has no id; expected a STAC item")
        if not _PLAIN_ID.fullmatch(item["id"]):
            raise UserError(
                f"{where}: an item has the id {item['id']!r:.200}; expected one that can be the "
                "name of a file, without / and without a dot at its start"
            )
        if item.get("collection", collection) != collection:
            raise UserError(
                f"{where}: item {item['id']} is of collection {item['collection']!r:.200}, and "
                f"only {collection!r} was asked for; this API does not search as STAC's do"
            )
        found[item["id"]] = {"assets": item.get("assets"), "links": item.get("links")}
        if number >= _MOST or number > 2 * len(found) + _A_PAGE:
            raise UserError(
                f"{where}: the search does not end: {number} items, {len(found)} of them "
                "different; narrow it by bbox, first and last"
            )
    log.info("%s: %d items found", where, len(found))
    return found


def _taken(source: dict[str, Any], items: dict[str, Any], where: str) -> dict[str, Any]:
    files: list[dict[str, Any]] = []
    without: list[str] = []
    for name in sorted(items):
        if source.get("most") and len(files) == source["most"]:
            break
        assets = items[name]["assets"]
        asset = assets.get(source["asset"]) if isinstance(assets, dict) else None
        if isinstance(asset, dict) and isinstance(asset.get("href"), str):
            files.append(_file(name, asset, _own_address(items[name]["links"]), where))
        else:
            without.append(name)
    if not files:
        some = next(iter(items.values()))["assets"] if items else None
        has = f"; one has {', '.join(sorted(some))}" if isinstance(some, dict) else ""
        raise UserError(
            f"{where}: {len(items)} items of collection {source['collection']} match, and none "
            f"has an asset {source['asset']!r}{has}; look at the source's collection, asset, bbox, "
            "first, last and query"
        )
    signed = any(urlsplit(row["url"]).query for row in files)
    return {"files": files, "without_asset": without, "signed": signed}


def _own_address(links: Any) -> str:
    """The item's own URL, which an asset's address may be relative to."""
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "self":
            return str(link.get("href") or "")
    return ""


def _file(item: str, asset: dict[str, Any], base: str, where: str) -> dict[str, Any]:
    """One asset, with the size and checksum of the `file` extension where they are told."""
    url = urljoin(base, asset["href"])
    if urlsplit(url).scheme not in ("http", "https") or not host(url):
        raise UserError(
            f"{where}: item {item} lies at {without_secrets(url)!r:.200}; expected an http(s) "
            "address (object stores: their web address)"
        )
    told = f"{where}: item {item}"
    hashed = asset.get("file:checksum")
    kind = next((_MULTIHASHES[p] for p in _MULTIHASHES if str(hashed).startswith(p)), None)
    row: dict[str, Any] = {"name": f"{item}{_suffix(url)}", "url": url, "sha256": None, "md5": None}
    row["bytes"] = known.size(asset.get("file:size"), told)
    if kind:
        start = next(p for p in _MULTIHASHES if _MULTIHASHES[p] == kind)
        row[kind] = known.checksum(kind, str(hashed).removeprefix(start), told)
    return row


def _suffix(url: str) -> str:
    suffix = PurePosixPath(unquote(urlsplit(url).path)).suffix
    return suffix if re.fullmatch(r"\.\w{1,8}", suffix) else ""


def remotes(found: dict[str, Any]) -> list[Remote]:
    """What `search` found, as files to download."""
    return [
        Remote(
            name=row["name"], urls=(row["url"],), bytes=row["bytes"], sha256=row["sha256"],
            md5=row["md5"],
        )
        for row in found["files"]
    ]  # fmt: skip


def has_secrets(found: dict[str, Any]) -> bool:
    """Whether addresses are missing that the API signed itself: then it has to be asked anew."""
    return bool(found["signed"])


def keepable(found: dict[str, Any]) -> dict[str, Any]:
    """What may be kept in a file: addresses without their queries."""
    files = [{**row, "url": without_secrets(row["url"])} for row in found["files"]]
    return {**found, "files": files}


def signed_host(found: dict[str, Any]) -> str:
    """The one host of the assets: a signature is sent to no other.

    Raises:
        UserError: They lie on several, or are asked for over an open way.
    """
    hosts = sorted({host(row["url"]) for row in found["files"]})
    if len(hosts) > 1:
        raise UserError(
            f"the assets lie at several hosts ({', '.join(hosts)}), and a signature is for one; "
            "choose another asset, or a source without `sign`"
        )
    if not all(keeps_secrets(row["url"]) for row in found["files"]):
        raise UserError(
            f"assets lie at http://{hosts[0]}, and a signature is sent over https only; choose a "
            "source without `sign`"
        )
    return hosts[0]


def content(found: dict[str, Any]) -> dict[str, Any]:
    """What identifies the found items in a summary: their number, and a digest of what was told."""
    rows = [[row["name"], row["bytes"], row["sha256"], row["md5"]] for row in found["files"]]
    return {
        "items": len(rows),
        "digest": digest(rows),
        "without_asset": found["without_asset"],
    }
