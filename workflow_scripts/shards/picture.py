"""Decode an image sample: apart from the reader, so that stages without pixels need no Pillow."""

import io

from PIL import Image

from workflow_scripts.errors import UserError
from workflow_scripts.shards.corpus import Corpus


def rgb_image(corpus: Corpus, row: int) -> Image.Image:
    """An image sample, decoded, in RGB.

    Raises:
        UserError: The bytes are no image.
    """
    try:
        with Image.open(io.BytesIO(corpus.image(row))) as file:
            return file.convert("RGB")
    except OSError as error:
        raise UserError(
            f"{corpus.name(row)}: not a readable image ({error}); pack it again"
        ) from None
