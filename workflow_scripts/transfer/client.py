"""The one home of HTTP: redirects, tokens, proxies, time limits, and small documents.

Proxies (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY) and the authorities that are trusted
(REQUESTS_CA_BUNDLE) come from the environment. ~/.netrc is not used, though requests would: it
would send the passwords found there to whatever host a redirect leads to, and tokens come from
environment variables only.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

import requests
from requests.adapters import HTTPAdapter

from workflow_scripts.errors import UserError
from workflow_scripts.transfer.answers import content_length
from workflow_scripts.transfer.failures import (
    NETWORK_ERRORS,
    Absent,
    Failure,
    Final,
    NoNetwork,
    Passing,
    Unreached,
    about_network,
    of_error,
    of_status,
)
from workflow_scripts.transfer.patience import Patience
from workflow_scripts.transfer.remote import keeps_secrets, without_secrets
from workflow_scripts.transfer.session import Credentials, Session, checked
from workflow_scripts.transfer.settings import Settings

_REDIRECTS = 10
_LONG = 2**16  # bytes that nobody needs
_DOCUMENT_BYTES = 32 * 2**20
_PORTS = {"http": 80, "https": 443}
_NO_BRACKETS = str.maketrans("", "", "[]")  # of an IPv6 address

# Its warnings and debug lines hold URLs with their queries, which may be signed.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


class NotThere(UserError):
    """There is no document at a URL, says its server (404, 410)."""


class Sign(Protocol):
    """Signs URLs, where a server wants that."""

    def __call__(self, url: str) -> str:
        """The URL as it is to be asked for; what is added is a secret, and stays in its query."""

    def refused(self, url: str) -> bool:
        """Told that a signed URL was refused (401 or 403); whether a new signature may help."""


class Client:
    """Asks servers, each with its own token and no other's. Threads may share it."""

    def __init__(
        self,
        settings: Settings,
        tokens: Mapping[str, str] | None = None,
        *,
        sign: Sign | None = None,
    ) -> None:
        """Begin.

        Args:
            settings: Limits.
            tokens: Bearer tokens by `host`, or by `host:port` for one port only. A token is sent to
                its host over https (over http to this machine only), and only if the URL that was
                asked for is of the same scheme, host and port: never after a redirect elsewhere.
            sign: Signs each URL anew when it is asked for.
        """
        self.settings = settings
        self._sign = sign
        self._tokens = {
            host.lower().translate(_NO_BRACKETS): checked(host, token)
            for host, token in (tokens or {}).items()
        }
        self._answered: set[tuple[str, str]] = set()  # origins
        self._session = Session()
        adapter = HTTPAdapter(pool_maxsize=max(settings.parallel, 1))
        for scheme in _PORTS:
            self._session.mount(f"{scheme}://", adapter)
        self._session.headers["User-Agent"] = "orbweaver"

    @contextmanager
    def open(
        self, url: str, *, headers: Mapping[str, str], also: tuple[int, ...] = ()
    ) -> Iterator[requests.Response]:
        """One attempt: the answer, its body not read yet.

        Redirects are followed here and not by requests, so that each hop gets only what it may.

        Args:
            url: What is asked for.
            headers: Go to every hop.
            also: Statuses above 399 that the caller understands.

        Raises:
            Failure: No answer, or none that can be used.
        """
        here = self._sign(url) if self._sign else url
        signed = here
        for _ in range(_REDIRECTS):
            response = self._get(here, url, headers)
            with response:
                target = self._redirect(here, response)
                if target is None:
                    if response.status_code >= 400 and response.status_code not in also:
                        if self._is_stale(signed, response):
                            raise Passing(f"{response.status_code}: its signature was refused")
                        raise self._explained(of_status(response), url, response)
                    if 300 <= response.status_code < 400:
                        raise Final(f"status {response.status_code} without an address to go to")
                    yield response
                    return
                here = target
        raise Final(f"more than {_REDIRECTS} redirects")

    def text(self, url: str, *, limit: int = _DOCUMENT_BYTES) -> str:
        """A small document, UTF-8.

        Args:
            url: Where it lies.
            limit: Most bytes.

        Raises:
            NotThere: There is none, says the server.
            UserError: It cannot be had, is longer or is no text; names the URL and what was seen.
        """
        return self._document(url, limit, lambda data: data.decode("utf-8-sig"), "text in UTF-8")

    def json(self, url: str, *, limit: int = _DOCUMENT_BYTES) -> Any:
        """A small JSON document; else as `text`."""
        return self._document(url, limit, json.loads, "JSON")

    def _document(self, url: str, limit: int, parse: Callable[[bytes], Any], expected: str) -> Any:
        patience = Patience(self.settings, without_secrets(url))
        try:
            while True:
                try:
                    data, page = self._read(url, limit)
                    break
                except Passing as failure:
                    patience.wait(failure)
            try:
                return parse(data)
            except ValueError:
                raise Final(page or f"{len(data)} bytes that are not {expected}") from None
        except Failure as failure:
            kind = NotThere if isinstance(failure, Absent) else UserError
            more = f"\n{about_network()}" if isinstance(failure, NoNetwork) else ""
            raise kind(
                f"{without_secrets(url)}: {failure}; expected a document ({expected}){more}"
            ) from None

    def _read(self, url: str, limit: int) -> tuple[bytes, str | None]:
        """The bytes of a document, and what to say if it is a web page that nobody asked for."""
        with self.open(url, headers={"Accept-Encoding": "identity"}) as response:
            data = bytearray()
            try:
                # Compressed all the same, it is decoded: of a document the content counts.
                while more := response.raw.read(2**16, decode_content=True):
                    data += more
                    if len(data) > limit:
                        raise Final(f"longer than {limit} bytes, too long for a document")
            except NETWORK_ERRORS as error:
                raise of_error(error, self.settings.timeout_s) from None
            return bytes(data), self.web_page(url, response)

    def web_page(self, url: str, response: requests.Response) -> str | None:
        """If a web page came, what that means where something else was expected; else None."""
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in ("text/html", "application/xhtml+xml"):
            return None
        came = f"a web page came ({kind}) from {without_secrets(response.url)}"
        if _origin(response.url) == _origin(url):
            return f"{came}; a login page, or a licence to be accepted? {self._about_token(url)}"
        return f"{came}, to which the server redirects; a login page? {self._about_token(url)}"

    def _get(self, url: str, asked: str, headers: Mapping[str, str]) -> requests.Response:
        """One hop of a request for `asked`."""
        origin, credentials = _origin(url), Credentials(self._token(url, asked))
        try:
            # An `auth` is always given: without one requests looks into ~/.netrc.
            response = self._session.get(
                url, headers=dict(headers), auth=credentials, stream=True, allow_redirects=False,
                timeout=self.settings.timeouts,
            )  # fmt: skip
            self._answered.add(origin)
            return response
        except (*NETWORK_ERRORS, UnicodeError) as error:
            failure = of_error(error, self.settings.timeout_s)
            heard = not self._answered.isdisjoint((origin, _origin(asked)))
            back_soon = isinstance(failure, Unreached) and heard
            where = "" if origin == _origin(asked) else f"{origin[1]}, to which it redirects: "
            raise (Passing if back_soon else type(failure))(f"{where}{failure}") from None
        except OSError as error:  # those of the network are all requests' own
            raise Final(f"REQUESTS_CA_BUNDLE: {error}") from None

    def _redirect(self, here: str, response: requests.Response) -> str | None:
        """Where an answer sends us, if it does."""
        try:
            target = self._session.get_redirect_target(response)
            if target is not None and (content_length(response) or _LONG) < _LONG:
                response.raw.drain_conn()  # so that its connection can be used again
            return None if target is None else requests.compat.urljoin(here, target)
        except ValueError:
            raise Final("it redirects to what is no URL") from None

    def _token(self, url: str, asked: str) -> str | None:
        """The token that may go with a request for `url` when `asked` was asked for."""
        host, parts = _host(asked), _split(asked)
        if _origin(url) != _origin(asked) or not keeps_secrets(asked):
            return None
        return self._tokens.get(host) or self._tokens.get(parts.hostname or "")

    def _explained(self, failure: Failure, url: str, response: requests.Response) -> Failure:
        """401 and 403 with what is known of the token."""
        if response.status_code not in (401, 403):
            return failure
        where = ""
        if _origin(response.url) != _origin(url):
            where = f" from {without_secrets(response.url)}, to which the server redirects"
        return Final(f"{failure}{where}; {self._about_token(url)}")

    def _is_stale(self, signed: str, response: requests.Response) -> bool:
        """Whether a request was refused for a signature that can be renewed."""
        return (
            self._sign is not None
            and response.status_code in (401, 403)
            and self._sign.refused(signed)
        )

    def _about_token(self, url: str) -> str:
        host = _split(url).hostname
        if self._token(url, url):
            return (
                f"the token for {host} was sent: it has expired, is unknown there or lacks rights"
            )
        if _host(url) in self._tokens or host in self._tokens:
            return f"the token for {host} was not sent, since tokens go over https only"
        return f"no token is set for {host}"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Final("not a valid URL") from None
    return parts


def _host(url: str) -> str:
    """`host:port` of a URL, with the port of its scheme if it names none."""
    parts = _split(url)
    return f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme.lower())}"


def _origin(url: str) -> tuple[str, str]:
    return _split(url).scheme.lower(), _host(url)
