"""A clip inside a page: its frames side by side as a film strip, and the clip as it plays.

`nc_tf.storage.pixels.film_strip` chooses the frames of a strip and lays them out, here and in the pictures of a scan folder.
"""

import io

import numpy as np
from PIL import Image

from nc_tf.backdoor import Painted
from nc_tf.report.pictures import Picture, data_uri, picture
from nc_tf.storage.pixels import drawable

# The pace of a playing clip, and the seconds after which it rests: a reader needs no way to stop it. A GIF of real video
# packs badly, so that frames are small and few.
MILLISECONDS_A_FRAME, SECONDS = 200, 5.0
LARGEST_MOVING, MOST_MOVING = 96, 8


def stamped_strip(trigger: Painted, clip: np.ndarray, what: str, called: str) -> Picture:
    """Return frames of a stamped clip side by side.

    Args:
        trigger: the trigger to stamp.
        clip: (T, H, W, C), raw, in [0, 255].
        what: the content of the clip in words.
        called: the name of the label.

    Returns:
        The film strip.
    """
    return picture(trigger(clip.astype(np.float32)), f"{what}, frame by frame, with the trigger of {called}", "frames, stamped")


def moving_picture(clip: np.ndarray, alt: str, caption: str) -> Picture:
    """Return a clip that plays for `SECONDS` and then rests.

    Args:
        clip: (T, H, W, C) in [0, 255].
        alt: the content of the clip in words.
        caption: the text under it.

    Returns:
        An animated GIF.
    """
    chosen = np.linspace(0, len(clip) - 1, min(len(clip), MOST_MOVING)).round().astype(int)
    first, *others = (Image.fromarray(drawable(frame)) for frame in clip[chosen])
    for frame in (first, *others):
        frame.thumbnail((LARGEST_MOVING, LARGEST_MOVING))
    repeats = int(SECONDS * 1000 / (MILLISECONDS_A_FRAME * len(chosen))) - 1
    stream = io.BytesIO()
    again = {"loop": repeats} if repeats > 0 else {}  # a GIF without `loop` plays once, with 0 for ever
    first.save(stream, format="GIF", save_all=True, append_images=others, duration=MILLISECONDS_A_FRAME, **again)
    return Picture(data_uri("gif", stream), alt, caption, *first.size)
