"""How many bytes this process may take, and what follows: images at once, images kept. Knows neither models nor files.

What is bounded is the resident size of the process, on a GPU the memory of that. It is reckoned from shapes alone, so that a plan is the
same every time: TensorFlow itself, the weights, the images that are kept, and what each image in the network takes.
"""

import re
from dataclasses import dataclass

from nc_tf.errors import InputError

DEFAULT = "4GiB"
UNITS = {"": 1, "B": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}

# Python with TensorFlow and what a command imports, before any model; docs/performance.md says how it was measured.
BASE = 800 * 2**20
# Beyond the tensors: what the allocator cannot give back, and what the convolutions need for themselves.
MARGIN = 1.2
# A batch of which only the answers are wanted takes no more than this share of the memory, or is of one image.
EVALUATION = 1 / 8
# Of a set whose images take more than this share of the memory, no more are kept than `MOST_KEPT`; and never more than fit into half.
FEW, HALF, MOST_KEPT = 1 / 16, 1 / 2, 10_000


@dataclass(frozen=True)
class Footprint:
    """Bytes that a network takes while it works, without its weights.

    Attributes:
        fixed: however many images are in it.
        per_image: for each image, or clip, that is in it at once.
        hidden: whether some of it could not be looked into: loops, such as that of an LSTM, and calls, such as of a SavedModel.
    """

    fixed: int
    per_image: int
    hidden: bool = False

    def of(self, number: int) -> int:
        """Bytes with so many images, or clips, at once, `MARGIN` included."""
        return self.fixed + round(MARGIN * self.per_image * number)


def parse_memory(size: str | int) -> int:
    """`4GiB`, `500MB`, `3g` or a number of bytes -> bytes.

    Raises:
        InputError: no size, or one that TensorFlow alone would fill.
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
    """Let this process take so many bytes, `"8GiB"`, whatever of the package it uses; without this call it is `DEFAULT`.

    It decides how much is done at once, and how many images of a large set are used.

    Raises:
        InputError: as `parse_memory`.
    """
    _Process.allowed = parse_memory(size)


def allowed() -> int:
    """The bytes that this process may take."""
    return _Process.allowed


def words(size: float) -> str:
    """Bytes as people read them: `812 MiB`, `4.0 GiB`."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{max(1, round(size / 2**20))} MiB"


def most_at_once(footprint: Footprint, free: float) -> int:
    """Images, or clips, at once in so many free bytes; 0 where none fits."""
    return max(0, int((free - footprint.fixed) / max(1.0, MARGIN * footprint.per_image)))


def most_kept(image_bytes: int) -> int:
    """Images of so many bytes each to keep in memory, of a set of any size.

    All, while they are little beside the memory: those of 32x32 pixels up to 87,000 by default. Of larger ones 10,000, which is more than
    the searches of a label look at, and fewer only where even these would fill half of the memory.
    """
    few, half = (int(share * allowed() / max(1, image_bytes)) for share in (FEW, HALF))
    return max(1, min(max(MOST_KEPT, few), half))
