"""What can go wrong with one request, in words without secrets, and whether it may pass.

The texts of requests' and urllib3's errors hold whole URLs, with the signatures in their queries;
so nothing of them is passed on but what the operating system or OpenSSL says of the reason.
"""

import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import IncompleteRead as HttpIncompleteRead

import requests
from urllib3 import exceptions as urllib3

# What the network does while a request is made or its body read. (`requests` raises the first, but
# the body is read from urllib3 itself; a bare OSError comes from neither.)
NETWORK_ERRORS = (requests.RequestException, urllib3.HTTPError)

# Too early, too many, or trouble of the server or of what stands before it: asked again.
PASSING_STATUSES = frozenset({408, 425, 429}) | frozenset(range(500, 600)) - {501, 505}


class Failure(Exception):
    """An attempt that failed; its text is what was seen, without secrets."""


class Passing(Failure):
    """It may pass: the same is tried again after a while.

    Attributes:
        wait_s: What the server asked for, in seconds; None if it did not.
    """

    def __init__(self, seen: str, wait_s: float | None = None) -> None:
        super().__init__(seen)
        self.wait_s = wait_s


class Unreached(Passing):
    """No connection came about: the name is not found, nobody listens, no way leads there."""


class Final(Failure):
    """This URL will not give the file, however often it is asked."""


class Absent(Final):
    """The server says that there is nothing at this URL (404, 410)."""


class NoNetwork(Final):
    """No attempt at this URL came as far as a connection."""


def of_status(response: requests.Response) -> Failure:
    """What an answer that is no success means.

    Args:
        response: Its status is 400 or more.
    """
    status = response.status_code
    seen = _phrase(status)
    if status in PASSING_STATUSES:
        return Passing(seen, retry_after(response.headers.get("Retry-After")))
    return Absent(seen) if status in (404, 410) else Final(seen)


def _phrase(status: int) -> str:
    """A status with its standard name: what the server itself calls it may hold anything."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks to wait (RFC 9110, 10.2.3); None if it says nothing.

    Args:
        value: Seconds, or a date of HTTP.
        now: The present, for tests.
    """
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:  # `-0000`: UTC, as all dates of HTTP
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def of_error(error: BaseException, timeout_s: float) -> Failure:
    """What an error of the network means.

    Args:
        error: Of the network, mostly one of `NETWORK_ERRORS`.
        timeout_s: The limit that a time-out ran into.
    """
    causes = list(_causes(error))
    for kind, words in _FINAL.items():
        if any(isinstance(cause, kind) for cause in causes):
            return Final(words)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Final(
                f"its certificate is not trusted ({cause.verify_message}); if a proxy or a private "
                "authority signs here, set REQUESTS_CA_BUNDLE to a file with its certificate"
            )
    through = ""
    if any(_of_proxy(cause) for cause in causes):
        through = f"the proxy of the environment ({', '.join(_PROXIES)}): "
        answers = (_TUNNEL.match(str(cause)) for cause in causes if type(cause) is OSError)
        for answer in filter(None, answers):
            return _of_tunnel(int(answer[1]), through)
    unreached = any(isinstance(cause, urllib3.ConnectTimeoutError) for cause in causes)
    return (Unreached if unreached else Passing)(through + _reason(causes, timeout_s))


_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3}) ")  # of http.client, which has no class


def _of_tunnel(status: int, through: str) -> Failure:
    """What a proxy means that leads to no server over https."""
    if status == 407:
        return Final(f"{through}it asks for a user and a password, or refuses those it got")
    kind = Passing if status in PASSING_STATUSES else Final
    return kind(f"{through}it answers {_phrase(status)}, and does not lead there")


_FINAL: dict[type, str] = {
    requests.exceptions.InvalidSchema: "only http:// and https:// can be downloaded "
    "(a SOCKS proxy needs PySocks)",
    requests.exceptions.MissingSchema: "not a URL: it must begin with https://",
    requests.exceptions.InvalidProxyURL: "the URL of the environment's proxy is not valid",
    requests.exceptions.InvalidURL: "not a valid URL",
    requests.exceptions.InvalidHeader: "the token or a header is not valid",
    UnicodeError: "not a valid URL",
    urllib3.LocationParseError: "not a valid URL",
    urllib3.DecodeError: "the answer is not compressed as it says",
}


def _of_proxy(cause: BaseException) -> bool:
    return isinstance(cause, requests.exceptions.ProxyError) or type(cause).__module__ == "socks"


def _reason(causes: list[BaseException], timeout_s: float) -> str:
    for cause in causes:
        if isinstance(cause, urllib3.NameResolutionError | socket.gaierror):
            return "its name was not found (DNS)"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({cause.reason or 'the connection ended'})"
    for cause in causes:
        if isinstance(cause, urllib3.NewConnectionError):  # a time-out to urllib3, but to nobody
            continue
        if isinstance(cause, urllib3.ConnectTimeoutError):
            return "no connection came about in time"
        if isinstance(cause, urllib3.TimeoutError | requests.Timeout | TimeoutError):
            return f"nothing came for {timeout_s:g} s"
        if isinstance(cause, urllib3.IncompleteRead | HttpIncompleteRead):
            return "the connection ended early"
    for cause in reversed(causes):  # the innermost
        if type(cause).__module__ == "builtins" and isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return f"the connection failed ({type(causes[-1]).__name__})"


def about_network(environment: Mapping[str, str] = os.environ) -> str:
    """What to say where nothing could be reached; names variables, and not what is in them."""
    names = [name for name in _PROXIES if environment.get(name) or environment.get(name.lower())]
    proxies = (
        f"The way there is that of {', '.join(names)}: is it right?"
        if names
        else f"Compute nodes often need a proxy, and none of {', '.join(_PROXIES)} is set."
    )
    return (
        f"No connection came about: the network seems not to be there. {proxies} Or start again "
        "where there is a network, on a login or transfer node."
    )


_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it wraps, outermost first: each library keeps that elsewhere."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        error = waiting.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        inside = [*error.args, getattr(error, "reason", None), error.__cause__, error.__context__]
        waiting += [one for one in inside if isinstance(one, BaseException)]
