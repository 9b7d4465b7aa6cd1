"""The archive's pages: where they lie, and what its answers mean."""

import json
import os
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from workflow_scripts.errors import UserError
from workflow_scripts.transfer.client import Client, NotThere
from workflow_scripts.transfer.settings import Settings

TOKEN = "EARTHDATA_TOKEN"
HOW_TO_GET_ONE = (
    "log in at urs.earthdata.nasa.gov, choose Generate Token in your profile (it is good for 60 "
    f"days), and type: export {TOKEN}=<the token>"
)


class Reader(Protocol):
    """As much of `transfer.client.Client` as is needed here."""

    def text(self, url: str) -> str:
        """A small document; raises `transfer.client.NotThere` where there is none."""


def tokens(url: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The token for the archive's host, and for no other.

    Args:
        url: The archive's address.
        environment: Where the token is.

    Raises:
        UserError: There is none; tells how to get one.
    """
    token = environment.get(TOKEN, "").strip()
    if not token:
        raise UserError(f"{TOKEN} is not set, and {url} gives granules to no one without a token: "
                        f"{HOW_TO_GET_ONE}")  # fmt: skip
    return {urlsplit(url).netloc: token}


def connect(options: dict[str, Any], *, with_token: bool = True) -> Client:
    """What asks the archive.

    Args:
        options: `url`, and the limits of `transfer.settings.Settings`; others are for others.
        with_token: Whether a token is needed for what will be asked.

    Raises:
        UserError: As `tokens`.
    """
    return Client(Settings.of(options), tokens(options["url"]) if with_token else {})


def about_the_token(error: UserError) -> UserError:
    """An error of a transfer, with how to get a token where it speaks of one."""
    return UserError(f"{error}\n{TOKEN}: {HOW_TO_GET_ONE}") if " token " in str(error) else error


def is_page(text: str) -> bool:
    """Whether a document is HTML."""
    return text.lstrip("\ufeff \t\r\n")[:1] == "<"


def read_text(client: Reader, address: str) -> str | None:
    """A text document of the archive; None if it has none at that address.

    Raises:
        UserError: It cannot be had, or the token is refused.
    """
    try:
        text = client.text(address)
    except NotThere:
        return None
    except UserError as error:
        raise about_the_token(error) from None
    if is_page(text):
        raise UserError(
            f"{address}: a web page came, which is how Earthdata asks for a login: the token in "
            f"{TOKEN} is wrong or too old; {HOW_TO_GET_ONE}"
        )
    return text


def read_json(client: Reader, address: str) -> Any:
    """A JSON document of the archive; None if it has none at that address.

    Raises:
        UserError: It cannot be had, the token is refused, or it is not JSON.
    """
    text = read_text(client, address)
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(
            f"{address}: expected a listing in JSON, not {text[:80]!r} ({error})"
        ) from None
