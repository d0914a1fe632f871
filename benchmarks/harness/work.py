"""The work that all contenders of the search benchmarks do, and their names.

Loads neither TensorFlow nor PyTorch, so that a probe of the memory of one holds nothing of the other.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nc_tf.datasets.rendered.signs import render
from nc_tf.errors import InputError

# A label-round of the paper: minibatches, and images in each.
MINIBATCHES, BATCH = 31, 32
LEARNING_RATE, COST = 0.1, 0.0  # the cost is zero in the paper's first rounds; multiplying by it takes the same time
LAYOUTS = ("nchw", "channels_last")


@dataclass(frozen=True)
class Work:
    """Images, start and order: the same for every contender, so that their losses can be compared.

    Attributes:
        minibatches: of a round; fewer than the paper's 31 where time is short, and the times are scaled.
        size: height and width of the images.
        labels: outputs of the network.
        seed: of everything.
        batch: images a minibatch.
    """

    minibatches: int = MINIBATCHES
    size: int = 32
    labels: int = 43
    seed: int = 0
    batch: int = BATCH

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (H, W, C)."""
        return self.size, self.size, 3

    @cached_property
    def images(self) -> np.ndarray:
        """Return (N, H, W, 3) uint8 images, one epoch a round."""
        pictures, _ = render(self.minibatches * self.batch, seed=self.seed)
        return pictures.repeat(self.size // 32, axis=1).repeat(self.size // 32, axis=2)

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mask (H, W) and pattern (H, W, 3) of the first start.

        They are those of label 0, as `nc_tf.scanning.halving.random_restart` draws them.
        """
        rng = np.random.default_rng([self.seed, 0, 0])
        return rng.random(self.image_shape[:2]), rng.random(self.image_shape) * 255.0

    def rows(self, round_: int) -> np.ndarray:
        """Return (K, B) rows of the images in label 0's round.

        They are shuffled as `nc_tf.inversion.batches.ResidentImages` shuffles them.
        """
        order = np.random.default_rng([self.seed, 0, 0, round_]).permutation(len(self.images))
        return order.reshape(self.minibatches, self.batch)


@dataclass(frozen=True)
class ClipWork(Work):
    """The same for clips, of noise: a round of what video/3_detect_backdoor.py searches with.

    Attributes:
        frames: T.
    """

    minibatches: int = 16
    size: int = 64
    labels: int = 10
    batch: int = 2
    frames: int = 16

    @cached_property
    def images(self) -> np.ndarray:
        """(N, T, H, W, 3) uint8, one epoch a round."""
        number = self.minibatches * self.batch
        return np.random.default_rng(self.seed).integers(0, 256, (number, self.frames, *self.image_shape), np.uint8)


@dataclass(frozen=True)
class Spec:
    """Which contender: `ours-8-float32`, `tape-1-float32`, `torch-1-float32-nchw`, with `-size64` or `-labels200` behind.

    Attributes:
        kind: ours, tape, torch; or tensorflow_only, torch_only: a process that has only imported it, to compare memory with.
        arms: labels at once.
        precision: float32 or bfloat16.
        layout: of torch's tensors.
        size: of the images.
        labels: of the network.
    """

    kind: str
    arms: int = 1
    precision: str = "float32"
    layout: str = ""
    size: int = 32
    labels: int = 43

    @property
    def name(self) -> str:
        """Return the name on the command line and in the results."""
        parts = [self.kind, str(self.arms), self.precision]
        parts += [self.layout] if self.layout else []
        parts += [f"size{self.size}"] if self.size != 32 else []
        parts += [f"labels{self.labels}"] if self.labels != 43 else []
        return "-".join(parts)

    def scaled(self, seconds: float, work: Work) -> float:
        """Return seconds of a whole label-round, from those of a call.

        A round has the default length of its kind of work.
        """
        return seconds / self.arms * type(work).minibatches / work.minibatches

    @staticmethod
    def parse(name: str) -> "Spec":
        """Return the contender of a name.

        Raises:
            InputError: it is none.
        """
        parts = name.split("-")
        try:
            kind, arms, precision = parts[0], int(parts[1]), parts[2]
            size = next((int(part[4:]) for part in parts if part.startswith("size")), 32)
            labels = next((int(part[6:]) for part in parts if part.startswith("labels")), 43)
        except (ValueError, IndexError):
            kind = ""
        if kind not in ("ours", "tape", "torch", "tensorflow_only", "torch_only"):
            raise InputError(f"contender {name!r}: expected a name such as ours-8-float32; see benchmarks/harness/work.py") from None
        return Spec(kind, arms, precision, next((part for part in parts if part in LAYOUTS), ""), size, labels)
