"""An image inside a page, with the words that say what is on it."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nc_tf.storage.pixels import drawable

# Up to this side every pixel is kept, and the page shows pixels as squares. Larger pictures are shrunk and compressed, so that a page of
# large images stays small enough to be mailed.
LOSSLESS_SIDE, LARGEST_SIDE = 64, 192


@dataclass(frozen=True)
class Picture:
    """An image in a page.

    Attributes:
        uri: the whole file, as a data: URI.
        alt: its content in words.
        caption: the text under it.
        width: of the file, pixels.
        height: of the file, pixels.
    """

    uri: str
    alt: str
    caption: str
    width: int
    height: int


def picture(pixels: np.ndarray, alt: str, caption: str) -> Picture:
    """Return pixels as `drawable` draws them, with words for them."""
    image = Image.fromarray(drawable(pixels))
    side, stream = image.height if pixels.ndim == 4 else max(image.size), io.BytesIO()
    if side <= LOSSLESS_SIDE:
        image.save(stream, format="PNG", optimize=True)
        kind = "png"
    else:
        if side > LARGEST_SIDE:
            image.thumbnail((image.width if pixels.ndim == 4 else LARGEST_SIDE, LARGEST_SIDE))
        image.save(stream, format="JPEG", quality=88, subsampling=0)
        kind = "jpeg"
    return Picture(data_uri(kind, stream), alt, caption, *image.size)


def data_uri(kind: str, stream: io.BytesIO) -> str:
    """Return the file of an image as a data: URI."""
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
