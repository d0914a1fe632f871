"""Event files for TensorBoard: the curves of every search of a scan, and its trigger as it forms."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError
from nc_tf.inversion.restart import Restart, RestartResult
from nc_tf.inversion.step import RoundLog, Run
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.results import LabelResult, Trigger
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.storage.pixels import drawable


class TensorBoardLog(ScanCallback):
    """A callback of `scan` that writes event files.

    Each search is a run of its own, `label_33/start_0`. It has the scalars ASR, norm, cost and loss at every round, and the images mask,
    pattern and trigger (mask times pattern) every few rounds. The run `labels` has the results, with the label as the step and tags of
    its own: "held-out ASR by label", "norm by label", and the pictures of the best trigger, "mask by label" and so on.
    `tensorboard --logdir FOLDER` shows them, also while the scan runs. A scan on a cluster does not report its rounds, so that it has the
    run `labels` only.
    """

    def __init__(self, folder: str | Path, *, every: int = 5, upsample_size: int = 1) -> None:
        """Make the folder.

        Args:
            folder: the place for the runs; files that lie there stay.
            every: rounds from one set of images to the next.
            upsample_size: side of a super-pixel of the mask, as given to `scan`.

        Raises:
            InputError: the package `tensorboard` is not installed, a number is below 1, or the folder cannot be made.
        """
        if find_spec("tensorboard") is None:  # without it tf.summary exists, and fails at the first scalar
            raise InputError("tensorboard is not installed: expected it for event files; pip install 'nc_tf[tensorboard]'")
        if every < 1 or upsample_size < 1:
            raise InputError(f"images every {every} rounds, super-pixels of {upsample_size}: expected 1 or more of each; leave them out")
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be made ({error.strerror}): expected a place for event files; choose another") from error
        self.folder, self.every, self.upsample_size = Path(folder), every, upsample_size
        self._writers: dict[tuple[int, int], tf.summary.SummaryWriter] = {}
        self._labels: tf.summary.SummaryWriter | None = None

    def on_round(self, restarts: Sequence[Restart], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        """Write the curves of the restarts in flight, and sometimes their triggers."""
        names = [(restart.label, restart.start) for restart in restarts]
        # A restart out of flight may come back, into another file of the same run. An open file for each would be too many.
        for name in self._writers.keys() - set(names):
            self._writers.pop(name).close()
        due = [position for position, round_ in enumerate(rounds) if round_ % self.every == 0]
        forming = dict(zip(due, self._triggers(run, due, names), strict=True)) if due else {}
        for position, (name, round_) in enumerate(zip(names, rounds, strict=True)):
            with self._writer(name).as_default(step=round_):
                for tag, column in (("ASR", log.success), ("norm", log.reg), ("cost", log.cost), ("loss", log.loss)):
                    tf.summary.scalar(tag, column[position])
                if position in forming:
                    _images(forming[position])
                    self._writer(name).flush()

    def on_label(self, result: LabelResult, starts: Sequence[RestartResult]) -> None:
        """Write the result of a label, and close its files."""
        if self._labels is None:
            self._labels = tf.summary.create_file_writer(str(self.folder / "labels"))
        with self._labels.as_default(step=result.label):
            tf.summary.scalar("held-out ASR by label", result.attack_success_rate)
            tf.summary.scalar("norm by label", result.trigger.l1_norm)
            _images(result.trigger, " by label")
        self._labels.flush()
        for name in [name for name in self._writers if name[0] == result.label]:
            self._writers.pop(name).close()

    def _writer(self, name: tuple[int, int]) -> tf.summary.SummaryWriter:
        if name not in self._writers:
            label, start = name
            self._writers[name] = tf.summary.create_file_writer(str(self.folder / f"label_{label}" / f"start_{start}"))
        return self._writers[name]

    def _triggers(self, run: Run, due: Sequence[int], names: Sequence[tuple[int, int]]) -> list[Trigger]:
        """Return the present triggers of the restarts at these positions."""
        z_mask, z_pattern = (tf.gather(part, due) for part in run.z)
        shape = tuple(z_pattern.shape[1:])
        space = TriggerSpace(shape, self.upsample_size, per_frame=len(shape) == 4)
        masks, patterns = space.masks(z_mask).numpy()[..., 0], space.patterns(z_pattern).numpy()
        return [Trigger(names[position][0], *parts) for position, *parts in zip(due, masks, patterns, strict=True)]


def _images(trigger: Trigger, suffix: str = "") -> None:
    for tag, pixels in (
        ("mask", trigger.mask[..., None] * 255.0),
        ("pattern", trigger.pattern),
        ("trigger", trigger.overlay),
    ):
        picture = drawable(np.nan_to_num(pixels))  # NaN is drawn black
        tf.summary.image(tag + suffix, picture.reshape(1, *picture.shape[:2], -1))
