"""Files on web servers: names and checksums of the recipe, addresses of the option `--transfer`."""

import os
from typing import Any
from urllib.parse import urlsplit

from workflow_scripts.errors import UserError
from workflow_scripts.transfer.remote import Remote


def remotes(source: dict[str, Any], addresses: dict[str, list[str]]) -> list[Remote]:
    """The files of a source.

    Args:
        source: `files`: name, bytes, sha256, md5; `url` of a file without a checksum, which is
            what lies there.
        addresses: URLs of each file by its name; those of the recipe otherwise.

    Raises:
        UserError: A file has no address.
    """
    found = []
    for file in source["files"]:
        urls = addresses.get(file["name"]) or [file[key] for key in ("url",) if key in file]
        if not urls:
            raise UserError(
                f"file {file['name']}: no address to fetch it from; expected its URLs under "
                '`files` in --transfer ({"files": {"<name>": ["https://…"]}})'
            )
        found.append(remote(file, urls))
    return found


def remote(file: dict[str, Any], urls: list[str]) -> Remote:
    """One file of a recipe with its addresses."""
    return Remote(
        name=file["name"],
        urls=tuple(urls),
        bytes=file.get("bytes"),
        sha256=file.get("sha256"),
        md5=file.get("md5"),
    )


def tokens(found: list[Remote], variable: str | None) -> dict[str, str]:
    """The bearer token of an environment variable, for the hosts that the files lie at.

    Args:
        found: What `remotes` returned.
        variable: Name of the variable; None: no token is wanted.

    Raises:
        UserError: The variable is not set.
    """
    if variable is None:
        return {}
    token = os.environ.get(variable, "").strip()
    if not token:
        raise UserError(
            f"the server wants a token, and the environment variable {variable} is not set; "
            f"set it (export {variable}=…) and start again"
        )
    return {host(url): token for one in found for url in one.urls}


def host(url: str) -> str:
    """Host of a URL with its port, as tokens are kept by."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()
