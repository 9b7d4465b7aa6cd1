"""What is to be downloaded, and what has been."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

from workflow_scripts.errors import UserError

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # surrogates are no character at all


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One file to download.

    Attributes:
        name: Its path below the target folder, with `/`.
        urls: Where it lies; several are mirrors, tried in turn.
        bytes: Its size, if known.
        sha256: Of its bytes, hexadecimal, if known.
        md5: The same by MD5, which many publishers give instead.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def __post_init__(self) -> None:
        path = PurePosixPath(self.name)
        outside = path.is_absolute() or ".." in path.parts or path == PurePosixPath(".")
        if outside or _UNFIT.search(self.name):
            raise UserError(
                f"{self.name!r:.200}: not a name for a downloaded file; expected a path below the "
                "target folder, relative, without `..` and control characters"
            )


@dataclass(frozen=True, kw_only=True)
class Received:
    """One file that is there, whole and verified.

    Attributes:
        name: As in `Remote`.
        path: Where it lies.
        bytes: Its size.
        sha256: Of its bytes, hexadecimal.
        url: Where it came from, without secrets; None if it lay there.
    """

    name: str
    path: Path
    bytes: int
    sha256: str
    url: str | None = None


def keeps_secrets(url: str) -> bool:
    """Whether nobody on the way to a URL can read what is sent: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme.lower() == "https" or parts.hostname in _LOOPBACK


def without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment: what may be logged and stored."""
    try:
        parts = urlsplit(url)
    except ValueError:  # its text would hold the URL
        return "an address that is no URL"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
