"""What of a dataset's source has to be downloaded, and how."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.sources import https, known
from workflow_scripts.fetch.sources.signing import Signer
from workflow_scripts.fetch.sources.words import words
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.remote import Remote, without_secrets
from workflow_scripts.transfer.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The files of a source.

    Attributes:
        remotes: All of them.
        facts: What of the source determines the dataset's content, for the summary.
        client: What they are to be downloaded with.
    """

    remotes: list[Remote]
    client: Client
    facts: dict[str, Any] = field(default_factory=dict)


def find(source: dict[str, Any], transfer: dict[str, Any], raw: Path, *, rescan: int = 0) -> Wanted:
    """The files of a source that can be downloaded.

    A service (hub, STAC API) is asked once: its answer is kept in the dataset's folder.

    Args:
        source: Of the recipe.
        transfer: Of the option `--transfer`.
        raw: The dataset's folder; it exists.
        rescan: Another number, and a STAC API is searched again.

    Raises:
        UserError: As the kinds say; or nothing here fetches such a source.
    """
    kinds: dict[str, Callable[..., Wanted]] = {"https": _https, "hub": _hub, "stac": _stac}
    if source["kind"] not in kinds:
        raise UserError(f"source.kind is {source['kind']!r}; expected {', '.join(kinds)}")
    return kinds[source["kind"]](source, transfer, raw, rescan)


def missing(remotes: list[Remote], raw: Path) -> list[Remote]:
    """Those of which nothing lies in the folder; a file that does is whole."""
    return [remote for remote in remotes if not (raw / remote.name).is_file()]


def _unchecked(remotes: list[Remote]) -> list[Remote]:
    return [one for one in remotes if not (one.sha256 or one.md5)]


def _https(source: dict[str, Any], transfer: dict[str, Any], raw: Path, rescan: int) -> Wanted:
    remotes = https.remotes(source, transfer.get("files") or {})
    known.let_go(raw, {file["name"]: file["url"] for file in source["files"] if "url" in file})
    variable = transfer.get("token_env") if missing(remotes, raw) else None
    client = Client(Settings.of(transfer), https.tokens(remotes, variable))
    return Wanted(remotes=remotes, client=client)


def _hub(source: dict[str, Any], transfer: dict[str, Any], raw: Path, rescan: int) -> Wanted:
    from workflow_scripts.fetch.sources import hub  # its library takes a second to import

    settings = Settings.of(transfer)
    told: dict[str, dict[str, Any]] = {}
    if not hub.is_told(source):
        kept = known.recall(raw, source)
        told = kept if kept is not None else hub.ask(source, settings)
        if kept is None:
            known.remember(raw, source, told)
    remotes = hub.remotes(source, transfer.get("files") or {}, told)
    known.let_go(raw, {one.name: words(source) for one in _unchecked(remotes)})
    return Wanted(
        remotes=remotes,
        client=Client(settings, hub.tokens()),
    )


def _stac(source: dict[str, Any], transfer: dict[str, Any], raw: Path, rescan: int) -> Wanted:
    from workflow_scripts.fetch.sources import stac  # as the hub's

    settings = Settings.of(transfer)
    asked = {**source, "rescan": rescan}
    found = known.recall(raw, asked)
    if found is None or (stac.has_secrets(found) and missing(stac.remotes(found), raw)):
        found = stac.search(source, source["api"], settings=settings)
        known.remember(raw, asked, stac.keepable(found))
    remotes = stac.remotes(found)
    known.let_go(raw, {one.name: without_secrets(one.urls[0]) for one in _unchecked(remotes)})
    sign = None
    if transfer.get("sign"):
        sign = Signer(transfer["sign"], stac.signed_host(found), Client(settings).json)
    return Wanted(
        remotes=remotes,
        client=Client(settings, sign=sign),
        facts={"found": stac.content(found)},
    )
