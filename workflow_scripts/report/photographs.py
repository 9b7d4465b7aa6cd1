"""Photographs inside figures, as small as photographs are."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

from workflow_scripts.files import write_text

QUALITY = 90  # of JPEG, with colours as fine as brightness
_PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")


def _jpeg(found: re.Match[str]) -> str:
    png = base64.b64decode(found[1])
    with Image.open(io.BytesIO(png)) as image:
        if image.mode != "RGB" and image.getextrema()[-1] != (255, 255):
            return found[0]  # partly transparent, which JPEG cannot say
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    if buffer.tell() >= len(png):
        return found[0]
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def photographs_as_jpeg(figure: Path) -> None:
    """Write the pixels in a figure of photographs as JPEG, where that is smaller than the PNG.

    matplotlib writes all pixels as PNG, which for a photograph is three to five times larger: of
    hundreds of such figures a page becomes too heavy. Only for what is looked at: pixels that tell
    what a model made, or values, stay exact.
    """
    write_text(figure, _PNG.sub(_jpeg, figure.read_text(encoding="utf-8")))
