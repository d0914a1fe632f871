"""The memory limit of the process, and the numbers of images that follow from it.

The limit is on the resident size of the process, on a GPU on the memory of the device. A plan counts TensorFlow itself, the weights,
the images kept in memory, and the activations of each image in the network. It is computed from shapes alone, so that it is the same
every time.
"""

import re
from dataclasses import dataclass

from nc_tf.errors import InputError

DEFAULT = "4GiB"
UNITS = {"": 1, "B": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}

# Python with TensorFlow and the imports of a command, before any model; docs/results/memory.md says how it was measured.
BASE = 800 * 2**20
# Factor over the size of the tensors, for fragmentation in the allocator and workspaces of convolutions.
MARGIN = 1.2
# A batch for prediction takes no more than this share of the memory, or is one image.
EVALUATION = 1 / 8
# If the images of a set take more than the first share of the memory, `MOST_KEPT` are kept; never more than fit into the second.
FEW, HALF, MOST_KEPT = 1 / 16, 1 / 2, 10_000


@dataclass(frozen=True)
class Footprint:
    """Bytes of a network at work, without its weights.

    Attributes:
        fixed: bytes for any number of images.
        per_image: bytes for each image, or clip, in the network at once.
        hidden: whether a part could not be inspected: loops, such as of an LSTM, and calls, such as of a SavedModel.
    """

    fixed: int
    per_image: int
    hidden: bool = False

    def of(self, number: int) -> int:
        """Return the bytes for `number` images, or clips, at once, with `MARGIN`."""
        return self.fixed + round(MARGIN * self.per_image * number)


def parse_memory(size: str | int) -> int:
    """Return the bytes of `4GiB`, `500MB`, `3g` or a number.

    Raises:
        InputError: no size, or one that TensorFlow alone exceeds.
    """
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?I?)B?\s*", str(size).upper())
    if not found or found[2] not in UNITS:
        raise InputError(f"memory {str(size)!r}: expected a size such as 4GiB or 3500MB; the default is {DEFAULT}")
    asked = round(float(found[1]) * UNITS[found[2]])
    if asked <= BASE:
        raise InputError(f"memory {size}: expected more than {words(BASE)}, which TensorFlow alone takes; the default is {DEFAULT}")
    return asked


class _Process:
    allowed = parse_memory(DEFAULT)


def allow(size: str | int) -> None:
    """Set the memory limit of this process, such as `"8GiB"`.

    Without this call it is `DEFAULT`. The limit decides how many images are processed at once, and how many of a large set are used.

    Raises:
        InputError: as `parse_memory`.
    """
    _Process.allowed = parse_memory(size)


def allowed() -> int:
    """Return the memory limit of this process in bytes."""
    return _Process.allowed


def words(size: float) -> str:
    """Return bytes in words: `812 MiB`, `4.0 GiB`."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{max(1, round(size / 2**20))} MiB"


def most_at_once(footprint: Footprint, free: float) -> int:
    """Return the number of images at once in `free` bytes."""
    return max(0, int((free - footprint.fixed) / max(1.0, MARGIN * footprint.per_image)))


def most_kept(image_bytes: int) -> int:
    """Return the largest number of images, or clips, to keep in memory.

    All images are kept while they take little memory: by default up to 87,000 of 32x32 pixels. If the images are larger, 10,000 are kept,
    which is more than the searches of a label use. Fewer are kept only if 10,000 exceed half of the memory.

    Args:
        image_bytes: bytes of one image.
    """
    few, half = (int(share * allowed() / max(1, image_bytes)) for share in (FEW, HALF))
    return max(1, min(max(MOST_KEPT, few), half))
