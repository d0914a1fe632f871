"""Search for the smallest trigger (paper section V-A).

Several restarts are advanced at once, by one compiled call a round.

Every part of the state has a leading axis of restarts, and nothing crosses it: one more restart changes no other's result. By default
the loss is the one that the original's code minimises.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError
from nc_tf.inversion import cost_schedule
from nc_tf.inversion.trigger_space import TriggerSpace

Network = Callable[[tf.Tensor], tf.Tensor]  # raw images (N, H, W, C) or clips (N, T, H, W, C) float32 -> logits (N, K) float32

# The original hands its two arguments to Keras's cross-entropy in the wrong order: the one-hot vector is clipped to 1e-7 and logged.
LINEAR_SCALE = float(-np.log(1e-7))
# Share of images of other classes, beyond those that may be missed anyway, that a trigger of one source may move.
MOST_FOLLOWING = 0.15


class Loss(StrEnum):
    """Loss that drives an image towards the label, whose probability is p.

    Linear, 16.118 * (1 - p), is that of the original's code; cross-entropy, -log p, is that of the paper's text.
    """

    LINEAR = "linear"
    CROSS_ENTROPY = "cross_entropy"


@dataclass(frozen=True)
class SearchSettings:
    """Settings of a search, which stay the same while it runs.

    Attributes:
        loss: see `Loss`.
        regularization: "l1", "l2" or None: the norm of the mask that the cost weighs.
        learning_rate: learning rate of Adam(.5, .9) in tanh space.
        batch_size: images a minibatch.
        batches_per_round: minibatches a round, each with one update; after them the schedule decides.
        max_rounds: most rounds of a restart.
        save_last: whether the trigger of the last round is kept instead of the smallest working one.
        cost: the schedule.
        exclude_target: whether images of the label itself are left out of the minibatches; they count as successes without a trigger.
    """

    loss: Loss | str = Loss.LINEAR
    regularization: str | None = "l1"
    learning_rate: float = 0.1
    batch_size: int = 32
    batches_per_round: int = 31
    max_rounds: int = 1000
    save_last: bool = False
    cost: cost_schedule.CostSchedule = cost_schedule.CostSchedule()
    exclude_target: bool = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            InputError: a value is out of its range.
        """
        if self.loss not in list(Loss):
            raise InputError(f"loss {self.loss!r}: expected one of {', '.join(Loss)}; choose one")
        if self.regularization not in ("l1", "l2", None):
            raise InputError(f"regularization {self.regularization!r}: expected 'l1', 'l2' or None; choose one")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning rate {self.learning_rate}: expected a finite number above 0; the paper's is .1")
        if min(self.batch_size, self.batches_per_round, self.max_rounds) < 1:
            raise InputError(
                f"batch size {self.batch_size}, batches a round {self.batches_per_round}, rounds {self.max_rounds}: "
                "expected 1 or more of each; the paper's are 32, 31 and 1000"
            )


class Run(NamedTuple):
    """State of A restarts, (A, ...) each."""

    # changed by every minibatch
    z: tuple[tf.Tensor, tf.Tensor]  # z_mask (A, h, w, 1), z_pattern (A, H, W, C)
    first_moment: tuple[tf.Tensor, tf.Tensor]
    second_moment: tuple[tf.Tensor, tf.Tensor]
    updates: tf.Tensor  # (A,) int32
    # changed by every round
    cost: cost_schedule.ScheduleState
    best: tuple[tf.Tensor, tf.Tensor]  # z at the end of the best round so far


class RoundLog(NamedTuple):
    """Log of a round of A restarts, (A,) each, as the host reads it.

    The first four are means over the round's minibatches, measured before each update.
    """

    ce: np.ndarray
    reg: np.ndarray
    loss: np.ndarray
    success: np.ndarray
    reg_best: np.ndarray
    cost: np.ndarray  # in force during the round
    stopped: np.ndarray
    finite: np.ndarray


class Inversion:
    """Compiled search of one network.

    `start` makes the state of several restarts, `advance` runs one round of all.
    """

    def __init__(self, network: Network, space: TriggerSpace, settings: SearchSettings) -> None:
        """Compile nothing yet; the first call of `advance` does.

        Args:
            network: function from raw images, or clips, to logits.
            space: where triggers live.
            settings: settings of the search.
        """
        self.network, self.space, self.settings = network, space, settings
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        # XLA is faster on a GPU; on a CPU it was measured more than ten times slower than the plain graph. The plain graph leaves the
        # axis of restarts open, so that their number may fall without a new trace.
        self.advance = tf.function(self._advance, jit_compile=on_gpu, reduce_retracing=True, autograph=False)

    def start(self, masks: Sequence[np.ndarray], patterns: Sequence[np.ndarray]) -> Run:
        """Return the state of restarts that begin here.

        Args:
            masks: (h, w) in [0, 1] for each restart.
            patterns: (H, W, C) in [0, 255] for each restart.
        """
        pairs = [self.space.encode(mask, pattern) for mask, pattern in zip(masks, patterns, strict=True)]
        z_mask, z_pattern = (tf.constant(np.stack(part)) for part in zip(*pairs, strict=True))
        z, zeros = (z_mask, z_pattern), (tf.zeros_like(z_mask), tf.zeros_like(z_pattern))
        return Run(z, zeros, zeros, tf.zeros([len(pairs)], tf.int32), cost_schedule.init(len(pairs), self.settings.cost), z)

    def _advance(self, run: Run, targets: tf.Tensor, images: tf.Tensor, indices: tf.Tensor) -> tuple[Run, tf.Tensor]:
        """Run one round.

        Args:
            run: the state.
            targets: (A,) int32, the label of each restart; (K, A, B) where every image has its own.
            images: (N, H, W, C) raw images, or clips (N, T, H, W, C), uint8 or float32, resident on the device.
            indices: (K, A, B) int32, rows of the images in each minibatch of each restart.

        Returns:
            The next state, and the fields of a `RoundLog` as one (8, A) float32 tensor, so that the host reads once.
        """
        steps = tf.shape(indices)[0]

        def one_minibatch(step: tf.Tensor, run: Run, totals: tf.Tensor) -> tuple[tf.Tensor, Run, tf.Tensor]:
            batch = tf.cast(tf.gather(images, indices[step]), tf.float32)
            run, means = self.update(run, targets if targets.shape.rank == 1 else targets[step], batch)
            return step + 1, run, totals + means

        nothing = tf.zeros([4, tf.shape(indices)[1]])
        _, run, totals = tf.while_loop(lambda step, *_: step < steps, one_minibatch, (tf.constant(0), run, nothing))
        means = totals / tf.cast(steps, tf.float32)
        _, reg, _, success = tf.unstack(means)
        cost, improved = cost_schedule.update(run.cost, success, reg, self.settings.cost)
        finite = tf.reduce_all(tf.math.is_finite(means), axis=0)
        for part in run.z:
            finite &= tf.reduce_all(tf.math.is_finite(part), axis=list(range(1, part.shape.rank)))
        best = tuple(tf.where(_beside(improved & finite, new), new, old) for new, old in zip(run.z, run.best, strict=True))
        flags = tf.cast(tf.stack([cost.stopped, finite]), tf.float32)
        report = tf.concat([means, tf.stack([cost.reg_best, run.cost.cost]), flags], axis=0)
        return run._replace(cost=cost, best=best), report

    def update(self, run: Run, targets: tf.Tensor, batch: tf.Tensor) -> tuple[Run, tf.Tensor]:
        """Return the state after one minibatch, and measurements before it.

        Args:
            run: the state.
            targets: (A,) int32, the label of each restart; (A, B) where every image has its own.
            batch: (A, B, H, W, C) raw images, or clips (A, B, T, H, W, C), float32.

        Returns:
            The next state, and (4, A) float32: cross-entropy, norm, loss and success rate.
        """
        lanes_and_images = tf.shape(batch)[:2]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(run.z)
            masks, patterns = self.space.masks(run.z[0]), self.space.patterns(run.z[1])
            stamped = self.space.stamp(batch, masks, patterns)
            logits = self.network(tf.reshape(stamped, tf.concat([[-1], tf.shape(stamped)[2:]], 0)))
            wanted = tf.repeat(targets, lanes_and_images[1]) if targets.shape.rank == 1 else tf.reshape(targets, [-1])
            ce = self._losses(logits, wanted, lanes_and_images)
            reg = self.space.norms(masks, self.settings.regularization)
            # Loss and cost are summed over the batch, as in the original, which passes a vector of losses to Adam. The size of a gradient
            # counts, because Adam's epsilon is fixed.
            loss = tf.reduce_sum(ce) + tf.cast(lanes_and_images[1], tf.float32) * tf.reduce_sum(run.cost.cost * reg)
        gradients = tape.gradient(loss, run.z, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        ce, success = tf.reduce_mean(ce, axis=1), self._success(_is_answered(logits, wanted, lanes_and_images))
        return self._adam(run, gradients), tf.stack([ce, reg, ce + run.cost.cost * reg, success])

    def _losses(self, logits: tf.Tensor, wanted: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """Return the loss of each image, in the shape (A, B)."""
        if self.settings.loss == Loss.CROSS_ENTROPY:
            return tf.reshape(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=logits), shape)
        return tf.reshape(LINEAR_SCALE * (1.0 - tf.gather(tf.nn.softmax(logits), wanted, axis=1, batch_dims=1)), shape)

    def _success(self, answered: tf.Tensor) -> tf.Tensor:
        """Return the success rate (A,) of images (A, B), 1 where the model answers the target."""
        return tf.reduce_mean(answered, axis=1)

    def _adam(self, run: Run, gradients: Sequence[tf.Tensor]) -> Run:
        """Return the state after an update of Adam(.5, .9) with Keras's epsilon.

        A Keras optimiser has one number of updates for all; here each restart has its own.
        """
        beta_1, beta_2, epsilon = 0.5, 0.9, 1e-7
        updates = run.updates + 1
        t = tf.cast(updates, tf.float32)
        rate = self.settings.learning_rate * tf.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)
        first = tuple(beta_1 * m + (1.0 - beta_1) * g for m, g in zip(run.first_moment, gradients, strict=True))
        second = tuple(beta_2 * v + (1.0 - beta_2) * g * g for v, g in zip(run.second_moment, gradients, strict=True))
        z = tuple(w - _beside(rate, w) * m / (tf.sqrt(v) + epsilon) for w, m, v in zip(run.z, first, second, strict=True))
        return run._replace(z=z, first_moment=first, second_moment=second, updates=updates)


class UntargetedInversion(Inversion):
    """Compiled search for a trigger that takes every image away from its own class, wherever to.

    Targets are the images' own classes, and the loss is -log(1 - p) of them. It finds what sends each class to another one, which no
    single label shows.
    """

    def _losses(self, logits: tf.Tensor, wanted: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        own = tf.one_hot(wanted, logits.shape[-1], on_value=logits.dtype.min, off_value=0.0)
        return tf.reshape(tf.reduce_logsumexp(logits, axis=1) - tf.reduce_logsumexp(logits + own, axis=1), shape)

    def _success(self, answered: tf.Tensor) -> tf.Tensor:
        return 1.0 - tf.reduce_mean(answered, axis=1)


class SourceInversion(UntargetedInversion):
    """Compiled search for a trigger that takes one class away from itself, wherever to, and leaves the others alone.

    The first half of every minibatch is of that class, the other half of the others (`nc_tf.inversion.batches.SourceImages`), whose loss
    is -log p of their own. A trigger that works on all classes, as natural ones mostly do, is then no way.
    """

    def _losses(self, logits: tf.Tensor, wanted: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        away = super()._losses(logits, wanted, shape)
        stay = tf.reshape(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=logits), shape)
        return tf.concat([away[:, : shape[1] // 2], stay[:, shape[1] // 2 :]], axis=1)

    def _success(self, answered: tf.Tensor) -> tf.Tensor:
        half = tf.shape(answered)[1] // 2
        # Some of the others may follow: a backdoor can have several sources.
        stayed = tf.reduce_mean(answered[:, half:], axis=1) + MOST_FOLLOWING
        return tf.minimum(super()._success(answered[:, :half]), stayed)


def _is_answered(logits: tf.Tensor, wanted: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Return 1 where the model answers the wanted class, else 0, in the shape (A, B)."""
    return tf.reshape(tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == wanted, tf.float32), shape)


def _beside(values: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    """Return values (A,) as (A, 1, ..., 1), to broadcast against `part`."""
    return tf.reshape(values, (-1, *[1] * (part.shape.rank - 1)))
