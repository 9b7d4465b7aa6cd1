"""A figure's file inside a page."""

import re
from pathlib import Path
from typing import Self
from urllib.parse import quote

from markupsafe import Markup

# Of the first tag of an SVG file; a number without a unit is one of CSS pixels.
_LENGTH = re.compile(r'\s(width|height)="([0-9.]+)(pt|px|)"')
_PIXELS = {"pt": 4 / 3, "px": 1.0, "": 1.0}


class Embedded(Markup):
    """The `src` of an `<img>` with the figure itself, and the size it is shown at if there is room.

    A browser that knows the size gives the picture its place before it reads it, and so reads one
    far down the page only when a reader comes near.

    Attributes:
        width: In CSS pixels; None where the file does not say.
        height: The same.
    """

    width: int | None
    height: int | None

    @classmethod
    def of(cls, svg: str) -> Self:
        """The text of an SVG file as a data URI."""
        found = cls("data:image/svg+xml," + quote(svg, safe="/:;=,+ ()!*@?"))
        start = svg.find("<svg")
        tag = svg[start : svg.find(">", start)]
        sizes = {
            name: round(float(value) * _PIXELS[unit]) for name, value, unit in _LENGTH.findall(tag)
        }
        both = sizes.get("width"), sizes.get("height")
        found.width, found.height = both if all(both) else (None, None)
        return found


def data_uri(figure: Path) -> Embedded | None:
    """An SVG file as text of an `<img src>`, None if there is no such file.

    As an image of its own, its ids cannot clash with another's and its scripts cannot run.
    """
    return Embedded.of(figure.read_text(encoding="utf-8")) if figure.is_file() else None
