"""A day's granules on disk while its chips are cut: downloaded into reserved room, then deleted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.generated import placed_by_hand
from workflow_scripts.fetch.laads.again import ask_again
from workflow_scripts.fetch.laads.archive import about_the_token, connect
from workflow_scripts.fetch.manifest import Item
from workflow_scripts.logs import log
from workflow_scripts.tile.room import room
from workflow_scripts.transfer.download import download
from workflow_scripts.transfer.remote import Remote

_GB = 10**9


@contextmanager
def at_hand(
    items: list[Item], options: dict[str, Any] | None, *, manifest: Path
) -> Iterator[list[Item]]:
    """Have a day's granules on disk; when the block ends well, those that came for it go.

    What is there from before is verified and not asked for again. Granules that somebody put into
    the day's folder himself are used where they are the right ones, and nothing of that folder is
    deleted. After an error everything stays for the next start.

    Args:
        items: The day's; those without `remote` are left alone.
        options: `url`, `budget_gb`, `keep`, and the limits of `transfer.settings.Settings`.
        manifest: Theirs, for messages.

    Yields:
        The items, those with `remote` with the sha256 of what is there.

    Raises:
        UserError: There are no options, the day is larger than the budget, there is no token, or
            the source cannot give a file after all attempts.
    """
    remote = [item for item in items if item.remote is not None]
    if not remote:
        yield items
        return
    if options is None:
        raise UserError(
            f"--transfer is missing: {remote[0].key} is to be downloaded, and "
            "`python -m workflow_scripts.recipes transfer <dataset>` prints how"
        )
    folder = Path(remote[0].path).parent
    if placed_by_hand(folder):
        log.info("%s holds files that were put there: nothing in it will be deleted", folder)
        yield _fetched(items, remote, folder, options, manifest)
        return
    need, budget = sum(item.bytes for item in remote), int(options["budget_gb"] * _GB)
    with room(folder, need, budget, keep=options["keep"]):
        yield _fetched(items, remote, folder, options, manifest)


def _fetched(
    items: list[Item],
    remote: list[Item],
    folder: Path,
    options: dict[str, Any],
    manifest: Path,
) -> list[Item]:
    url = options["url"].rstrip("/")
    for item in remote:
        if Path(item.path) != folder / item.key:
            raise UserError(f"{item.path}: expected {folder / item.key}; run fetch for this day")
    files = [_remote(item, url) for item in remote]
    there = all((folder / item.key).is_file() for item in remote)
    client = connect(options, with_token=not there)
    try:
        received = download(files, folder, client=client, what=f"granules of {folder.name}")
    except UserError as error:
        told = about_the_token(error)
        if told is not error:  # no matter of this day
            raise told from None
        ask_again(manifest).touch()
        raise UserError(
            f"{error}\nShould the source have other files of this day by now, `snakemake relist` "
            "finds that out: it asks again for days that could not be downloaded; then start again"
        ) from None
    ask_again(manifest).unlink(missing_ok=True)
    found = {one.name: one.sha256 for one in received}
    return [replace(item, sha256=found[item.key]) if item.remote else item for item in items]


def _remote(item: Item, url: str) -> Remote:
    assert item.remote is not None
    address = f"{url}/{item.remote['url']}"
    return Remote(name=item.key, urls=(address,), bytes=item.bytes, md5=item.remote["md5"])
