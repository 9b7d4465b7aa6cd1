"""Signed addresses: a token that a service gives, added to the query of an asset's URL.

Azure's shared access signatures (SAS) as the Planetary Computer gives them: GET <sign> answers
{"token": "<query>", "msft:expiry": "<time>"}. The package planetary-computer does no more than this
call for us, and would be one more dependency, with a client of its own that knows none of our
retries and proxies.

A signature is a secret, and lasts for an hour or less: it is asked for when an asset is, renewed
before it expires and when it is refused, and stands in no file and no log.
"""

import datetime
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.sources.https import host
from workflow_scripts.transfer.remote import without_secrets

_BEFORE_ITS_END = datetime.timedelta(seconds=60)


class Signer:
    """Signs the URLs of one host; threads may share it."""

    def __init__(self, address: str, only: str, ask: Callable[[str], Any]) -> None:
        """Ask for no signature yet.

        Args:
            address: What gives signatures.
            only: Host (with its port) that they are for; URLs of others stay as they are.
            ask: Gets a JSON document by its URL.
        """
        self._address, self._only, self._ask = address, only, ask
        self._lock = threading.Lock()
        self._token: str | None = None
        self._end: datetime.datetime | None = None

    def __call__(self, url: str) -> str:
        """The URL, signed if it is one of the host.

        Raises:
            UserError: The service answers with something else.
        """
        if host(url) != self._only:
            return url
        with self._lock:
            if self._token is None or (self._end and self._end - _BEFORE_ITS_END < _now()):
                self._renew()
            return f"{url}{'&' if urlsplit(url).query else '?'}{self._token}"

    def refused(self, url: str) -> bool:
        """Forget the signature that a signed URL was refused with; whether a new one may help."""
        with self._lock:
            if self._token is not None and url.endswith(self._token):
                self._token = None
            return host(url) == self._only

    def _renew(self) -> None:
        answer = self._ask(self._address)
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token.strip():
            seen = sorted(map(str, answer)) if isinstance(answer, dict) else type(answer).__name__
            raise UserError(
                f"{without_secrets(self._address)}: answers without a signature (seen: "
                f'{seen!s:.200}); expected JSON {{"token": "…"}}; look at `sign` of the source'
            )
        self._token, self._end = token.strip().lstrip("?"), _time(answer.get("msft:expiry"))


def _time(text: Any) -> datetime.datetime | None:
    """A time in ISO 8601; None where the service tells none: then a refusal tells."""
    try:
        time = datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
