"""Names of members: which are keys, which are left out, and which are refused."""

import re
import unicodedata
from pathlib import Path

from workflow_scripts.archives.listed import refused

_DRIVE = re.compile(r"[A-Za-z]:")
_SEPARATORS = re.compile(r"[/\\]")
_LEFT_OUT = {"__macosx", "thumbs.db", "desktop.ini"}
# Most names: nothing in them that the rules below would look at. A million are checked in seconds.
_PLAIN = re.compile(r"[\w+,=@ -][\w+,=@ .-]*(?:/[\w+,=@ -][\w+,=@ .-]*)*", re.ASCII)
_LONGEST = 1000  # characters: far below what paths may have, with the folder before them
_DEEPEST = 50  # folders
_SHOWN = 200
_PERHAPS_LEFT_OUT = re.compile("__macosx|thumbs.db|desktop.ini", re.IGNORECASE)
# Control characters, halves of characters, and what begins a new line.
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # text runs backwards


class OddError(Exception):
    """A member that is set aside, with the reason."""


def shown(name: str) -> str:
    """A name in which what cannot be shown is escaped, and the rest of an endless one left out."""
    if len(name) > _LONGEST:
        name = f"{name[:_SHOWN]}…"
    if name.isprintable():
        return name
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in name
    )


def _is_odd(one: str) -> bool:
    return unicodedata.category(one) in _UNPRINTABLE or one in _TURNING


def key_of(name: str, archive: Path) -> str | None:
    """The key of a member, from its name.

    Args:
        name: As the archive has it; bytes that are no UTF-8 are lone surrogates.
        archive: For messages.

    Returns:
        The name as a relative path, `./` and doubled `/` taken out; None for what is left out:
        the folder itself, hidden files and folders, as in folders, and what desktops leave behind.

    Raises:
        OddError: It cannot be a key, but does no harm.
        UserError: It names a place outside of any folder.
    """
    if len(name) < 2 * _DEEPEST and _PLAIN.fullmatch(name) and not _PERHAPS_LEFT_OUT.search(name):
        return name
    if name[:1] in ("/", "\\") or _DRIVE.match(name) or ".." in _SEPARATORS.split(name):
        raise refused(
            archive, f"a member is named {shown(name)!r}, which lies outside the folder it is for"
        )
    if not name:
        raise OddError("it has no name")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or any(part.startswith(".") or part.lower() in _LEFT_OUT for part in parts):
        return None
    if len(name) > _LONGEST or len(parts) > _DEEPEST:
        raise OddError("its name is too long, or too many folders deep")
    if not name.isprintable():
        if any(unicodedata.category(one) == "Cs" for one in name):
            raise OddError("its name is in no encoding that the archive states (not UTF-8)")
        if any(map(_is_odd, name)):
            raise OddError("its name holds control characters")
    if "\\" in name:
        raise OddError("its name holds a backslash, which may be meant as a folder's")
    key = "/".join(parts)
    return name if key == name else key  # one copy of a million names


class Seen:
    """Keys met so far: a second one of the same name is set aside, whatever it holds."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def add(self, key: str) -> None:
        """Take in a key; two spellings of one character (Unicode's NFC) are the same.

        Raises:
            OddError: It was there.
        """
        plain = key if key.isascii() else unicodedata.normalize("NFC", key)
        if plain in self._keys:
            raise OddError("an earlier member has the same name")
        self._keys.add(plain)
