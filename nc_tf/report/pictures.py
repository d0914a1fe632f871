"""Triggers and images as pictures inside a page, each with the words that say what is on it."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nc_tf.results import Trigger, Unit
from nc_tf.storage.pixels import drawable

# Up to this side every pixel is kept, and the page shows them as squares; larger pictures are shrunk and compressed, so that a page of
# large images stays small enough to be mailed.
LOSSLESS_SIDE, LARGEST_SIDE = 64, 192
GRAY = 127.5
# A clip moves at this pace, and rests after so many seconds: nobody should have to look for a way to stop it. A GIF of real video packs
# badly, so that frames are small and few.
MILLISECONDS_A_FRAME, SECONDS = 200, 5.0
LARGEST_MOVING, MOST_MOVING = 96, 8
_PLACES = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")


@dataclass(frozen=True)
class Picture:
    """An image in a page.

    Attributes:
        uri: the whole file, as a data: URI.
        alt: its content in words.
        caption: what is written under it.
        width, height: pixels of the file.
    """

    uri: str
    alt: str
    caption: str
    width: int
    height: int


def picture(pixels: np.ndarray, alt: str, caption: str) -> Picture:
    """What is drawn of pixels, see `drawable`, with words for it."""
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
    return Picture(_data_uri(kind, stream), alt, caption, *image.size)


def moving_picture(clip: np.ndarray, alt: str, caption: str) -> Picture:
    """A clip (T, H, W, C) in [0, 255] that plays for `SECONDS` and rests."""
    chosen = np.linspace(0, len(clip) - 1, min(len(clip), MOST_MOVING)).round().astype(int)
    first, *others = (Image.fromarray(drawable(frame)) for frame in clip[chosen])
    for frame in (first, *others):
        frame.thumbnail((LARGEST_MOVING, LARGEST_MOVING))
    repeats = int(SECONDS * 1000 / (MILLISECONDS_A_FRAME * len(chosen))) - 1
    stream = io.BytesIO()
    again = {"loop": repeats} if repeats > 0 else {}  # without it a GIF plays once, and with 0 for ever
    first.save(stream, format="GIF", save_all=True, append_images=others, duration=MILLISECONDS_A_FRAME, **again)
    return Picture(_data_uri("gif", stream), alt, caption, *first.size)


def _data_uri(kind: str, stream: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def trigger_pictures(trigger: Trigger, called: str, unit: Unit) -> list[Picture]:
    """Mask, pattern, and the pattern as strong as the mask lets it be; `called` and `unit` are what the words call label and inputs."""
    mask, pattern = trigger.mask, trigger.pattern
    where, colour = mask_words(trigger, unit), colour_words(trigger)
    return [
        picture(mask[..., None] * 255.0, f"Mask of {called}, white where it covers: {where}", "mask"),
        picture(pattern, f"Pattern of {called}: {colour}", "pattern"),
        picture(trigger.overlay, f"Trigger of {called}, pattern times mask: {where}; {colour}", "trigger"),
    ]


def stamped_pair(trigger: Trigger, image: np.ndarray, what: str, called: str) -> tuple[Picture, Picture]:
    """A raw image (H, W, C) or clip (T, H, W, C) in [0, 255] without and with the trigger; `what` says what is on it."""
    image, draw = image.astype(np.float32), moving_picture if image.ndim == 4 else picture
    return draw(image, f"{what}, clean", "clean"), draw(trigger(image), f"The same, with the trigger of {called}", "stamped")


def stamped_strip(trigger: Trigger, clip: np.ndarray, what: str, called: str) -> Picture:
    """Frames of a raw clip (T, H, W, C) in [0, 255] with the trigger, side by side; `what` says what is on it."""
    return picture(trigger(clip.astype(np.float32)), f"{what}, frame by frame, with the trigger of {called}", "frames, stamped")


def mask_words(trigger: Trigger, unit: Unit) -> str:
    """Where and how strongly the mask covers, of masks a frame their mean: the ninth that holds more than half of it, if one does."""
    mask, total = trigger.mask.reshape(-1, *trigger.mask.shape[-2:]).mean(axis=0), trigger.l1_norm
    ninths = [part.sum() for row in np.array_split(mask, 3, axis=0) for part in np.array_split(row, 3, axis=1)]
    fullest = int(np.argmax(ninths))
    where = f"mostly in the {_PLACES[fullest]}" if ninths[fullest] > total / 2 else f"spread over the {unit}"
    return f"{where}, {total:.1f} pixels in all, at most {float(trigger.mask.max()):.0%} opaque"


def colour_words(trigger: Trigger) -> str:
    """The pattern's mean colour where the mask covers."""
    weights = trigger.mask[..., None] + 1e-9  # an empty mask covers everything alike
    mean = (trigger.pattern * weights).reshape(-1, trigger.pattern.shape[-1]).sum(axis=0) / weights.sum()
    if len(mean) == 3:
        return "mean colour under it red {:.0f}, green {:.0f}, blue {:.0f} of 255".format(*mean)
    return f"mean brightness under it {mean.mean():.0f} of 255"
