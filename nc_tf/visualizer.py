"""The original's `Visualizer`: its constructor, its `visualize` and its return value, over the search of this package."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError
from nc_tf.inversion.cost_schedule import CostSchedule
from nc_tf.inversion.loop import search
from nc_tf.inversion.restart import Restart
from nc_tf.inversion.step import Inversion, Loss, RoundLog, Run, SearchSettings
from nc_tf.inversion.trigger_space import EPSILON, TriggerSpace
from nc_tf.models.adapting import adapt_to
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.models.random_state import random_state_kept
from nc_tf.preprocessing import Preprocessing, preprocessing
from nc_tf.storage.files import whole_file

HistoryRow = tuple[float, ...]  # step, ce, reg, loss, acc, reg_best, cost


class Visualizer:
    """A search for the smallest trigger of one label at a time (bolunwang/backdoor, visualizer.py).

    It differs from the original on purpose. The default `cost_multiplier` is 1.5, where a tuple crashed. Optimiser state, cost and
    counters start afresh with every call. A generator's last, shorter batch is filled up with the images that follow.

    Args:
        model: Keras classifier (N, H, W, C) -> (N, K), softmax or logits; or another form that `nc_tf.adapt` takes without a choice.
        intensity_range: "raw", "mnist", "inception" or "imagenet": the range of pixels of the model and of the generator.
        regularization: "l1", "l2" or None.
        input_shape: (H, W, C).
        init_cost: weight of the mask's norm once it is armed.
        steps: rounds at most.
        mini_batch: minibatches a round.
        lr: learning rate of Adam(.5, .9).
        num_classes: K.
        upsample_size: side of a super-pixel.
        attack_succ_threshold: success rate that makes a round good.
        patience: rounds in a row that move the cost.
        cost_multiplier: factor up; down is its 1.5th power.
        reset_cost_to_zero: start without the norm, and add it after `patience` good rounds.
        mask_min: lower bound that the starting mask is clipped to.
        mask_max: upper bound that the starting mask is clipped to.
        color_min: lower bound that the starting pattern is clipped to.
        color_max: upper bound that the starting pattern is clipped to.
        img_color: channels of the image.
        shuffle: for callers of the original, which did not read it either; generators shuffle.
        batch_size: images a minibatch if the generator yields single images.
        verbose: 0 silent, 1 ten lines a search, 2 a line a round.
        return_logs: whether `visualize` returns logs.
        save_last: return the last trigger instead of the smallest working one.
        epsilon: distance of tanh from its ends.
        early_stop: see `CostSchedule`.
        early_stop_threshold: see `CostSchedule`.
        early_stop_patience: see `CostSchedule`.
        save_tmp: write every round's mask and fusion into `tmp_dir`.
        tmp_dir: a folder.
        raw_input_flag: whether the generator yields raw pixels instead of preprocessed ones.
        loss: "linear", the loss of the original's code, or "cross_entropy", the loss of the paper.
        precision: "float32", "bfloat16" or "auto".

    Raises:
        InputError: settings out of range, or a model that does not fit them.
    """

    @random_state_kept()
    def __init__(
        self,
        model: keras.Model,
        intensity_range: str,
        regularization: str | None,
        input_shape: tuple[int, int, int],
        init_cost: float,
        steps: int,
        mini_batch: int,
        lr: float,
        num_classes: int,
        upsample_size: int = 1,
        attack_succ_threshold: float = 0.99,
        patience: int = 10,
        cost_multiplier: float = 1.5,
        reset_cost_to_zero: bool = True,
        mask_min: float = 0,
        mask_max: float = 1,
        color_min: float = 0,
        color_max: float = 255,
        img_color: int = 3,
        shuffle: bool = True,
        batch_size: int = 32,
        verbose: int = 1,
        return_logs: bool = True,
        save_last: bool = False,
        epsilon: float = EPSILON,
        early_stop: bool = True,
        early_stop_threshold: float = 0.99,
        early_stop_patience: int = 20,
        save_tmp: bool = False,
        tmp_dir: str | Path = "tmp",
        raw_input_flag: bool = False,
        *,
        loss: str = Loss.LINEAR,
        precision: str = "float32",
    ) -> None:
        self.num_classes, self.steps, self.verbose, self.return_logs = num_classes, steps, verbose, return_logs
        self.mask_range, self.color_range = (mask_min, mask_max), (color_min, color_max)
        self.tmp_dir = Path(tmp_dir) if save_tmp else None
        self.batch_size, self.mini_batch, self.raw_input_flag = batch_size, mini_batch, raw_input_flag
        self.preprocess = preprocessing(intensity_range)
        model = adapt_to(model, input_shape)
        _check_model(model, tuple(input_shape), img_color, num_classes)
        # Clean images come with a generator. Until then noise shows the output of the model, and whether a copy has the same.
        noise = np.random.default_rng(0).integers(0, 256, (8, *input_shape)).astype(np.uint8)
        self.network, self.inspected = FrozenNetwork(model, self.preprocess, precision, noise), False
        cost = CostSchedule(
            init_cost=init_cost,
            multiplier=cost_multiplier,
            patience=patience,
            threshold=attack_succ_threshold,
            reset_cost_to_zero=reset_cost_to_zero,
            early_stop=early_stop,
            early_stop_threshold=early_stop_threshold,
            early_stop_patience=early_stop_patience,
        )
        settings = SearchSettings(loss, regularization, lr, batch_size, mini_batch, steps, save_last, cost)
        space = TriggerSpace((input_shape[0], input_shape[1], input_shape[2]), upsample_size, epsilon)
        self.inversion = Inversion(self.network, space, settings)

    def visualize(
        self, gen: Any, y_target: int, pattern_init: np.ndarray, mask_init: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[HistoryRow]] | tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search for the smallest trigger of one label, and return it.

        Args:
            gen: generator of batches of images (B, H, W, C), or of tuples that begin with them: an object with `.next()`, an iterator,
                a Keras `PyDataset` or a `tf.data.Dataset`; the latter two are repeated without end.
            y_target: the label, 0 to K - 1.
            pattern_init: (H, W, C) in [0, 255], start of the pattern.
            mask_init: (H, W) in [0, 1], divided by the upsample size, start of the mask.

        Returns:
            pattern (H, W, C) in [0, 255], mask in [0, 1] in the shape of `mask_init`, the same mask upsampled to (H, W), and logs,
            a row (step, ce, reg, loss, acc, reg_best, cost) a round, unless `return_logs` is off.

        Raises:
            InputError: a label, start or generator that does not fit.
        """
        if not 0 <= y_target < self.num_classes:
            raise InputError(f"y_target {y_target}: expected 0 to {self.num_classes - 1}; choose one of the model's classes")
        restart = Restart(int(y_target), 0, np.clip(mask_init, *self.mask_range), np.clip(pattern_init, *self.color_range))
        reverse = None if self.raw_input_flag else self.preprocess
        stream = _Stream(_batches(gen, self.inversion.space.image_shape), self.mini_batch, self.batch_size, reverse)
        if not self.inspected:  # before the search is compiled
            self.network.look_at(stream.peek())
            self.inspected = True
        if self.network.no_gradient:
            raise InputError(f"{self.network.no_gradient}: expected a differentiable classifier; search the network it was made from")
        (result,) = search(self.inversion, [restart], stream, lanes=1, on_round=self._report)
        logs = [(int(row[0]), *map(float, row[1:])) for row in result.history]
        found = result.trigger.pattern, result.coarse_mask, result.trigger.mask
        return (*found, logs) if self.return_logs else found

    def _report(self, restarts: Sequence[Restart], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        """Print the original's lines, and write its intermediate masks."""
        step = rounds[0]
        if self.verbose >= 2 or (self.verbose and step % max(1, self.steps // 10) == 0):
            print(
                f"step: {step:3d}, cost: {log.cost[0]:.2E}, attack: {log.success[0]:.3f}, loss: {log.loss[0]:f}, "
                f"ce: {log.ce[0]:f}, reg: {log.reg[0]:f}, reg_best: {log.reg_best[0]:f}"
            )
        if self.tmp_dir is not None:
            mask, pattern = self.inversion.space.masks(run.z[0])[0], self.inversion.space.patterns(run.z[1])[0]
            for part, pixels in (("mask", 255 * mask), ("fusion", mask * pattern)):
                with whole_file(self.tmp_dir / f"tmp_{part}_step_{step}.png") as temporary:
                    keras.utils.save_img(temporary, pixels, scale=False)


def _check_model(model: keras.Model, input_shape: tuple[int, ...], img_color: int, num_classes: int) -> None:
    """Refuse settings that do not fit the model.

    Raises:
        InputError: colours, classes or input shape differ.
    """
    if img_color != input_shape[-1] or model.output_shape[-1] != num_classes:
        raise InputError(
            f"{img_color} colours, {num_classes} classes: expected those of the input shape {input_shape} and of the model, "
            f"{model.output_shape[-1]} classes; correct img_color or num_classes"
        )
    if not all(expected in (None, given) for expected, given in zip(model.input_shape, (None, *input_shape), strict=True)):
        raise InputError(f"input shape {input_shape}: expected {tuple(model.input_shape[1:])}, the model's; correct it")


class _Stream:
    """The minibatches of a search out of a generator of any kind, in raw pixels."""

    def __init__(self, batches: Iterator[np.ndarray], mini_batch: int, batch_size: int, reverse: Preprocessing | None) -> None:
        self.mini_batch, self.batch_size, self.reverse = mini_batch, batch_size, reverse
        self.batches = batches
        self.remainder: np.ndarray | None = None

    def peek(self) -> np.ndarray:
        """Return the raw images (B, H, W, C) of the next batch, without taking it."""
        return self._raw(self._next())

    def _next(self) -> np.ndarray:
        if self.remainder is None:
            self.remainder = next(self.batches)
            self.batch_size = len(self.remainder) if len(self.remainder) > 1 else self.batch_size
        return self.remainder

    def _raw(self, images: np.ndarray) -> np.ndarray:
        return images if self.reverse is None else self.reverse.reverse(images.astype(np.float32))

    def __call__(self, restarts: Sequence[Restart], rounds: Sequence[int]) -> tuple[tf.Tensor, np.ndarray]:
        del restarts, rounds  # one restart, and the generator has its own position
        first = self._next()
        needed = self.mini_batch * self.batch_size
        parts, count = [first], len(first)
        while count < needed:
            parts.append(next(self.batches))
            count += len(parts[-1])
        images = np.concatenate(parts)
        self.remainder = images[needed:]
        rows = np.arange(needed, dtype=np.int32).reshape(self.mini_batch, 1, self.batch_size)
        return tf.constant(self._raw(images[:needed]), tf.float32), rows


def _batches(gen: Any, image_shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yield the image batches of a generator.

    They have no end if the generator can be repeated.
    """
    draw: Callable[[], Any]
    if hasattr(gen, "next"):
        draw = gen.next
    elif hasattr(gen, "__next__"):
        draw = gen.__next__
    elif hasattr(gen, "__getitem__") and hasattr(gen, "__len__"):
        draw = _repeated(lambda: (gen[position] for position in range(len(gen))), getattr(gen, "on_epoch_end", lambda: None)).__next__
    elif hasattr(gen, "__iter__"):
        draw = _repeated(lambda: iter(gen), lambda: None).__next__
    else:
        raise InputError(
            f"a generator of type {type(gen).__name__}: expected next(), an iterator, a PyDataset or a tf.data.Dataset; wrap it"
        )
    while True:
        try:
            batch = draw()
        except StopIteration:
            raise InputError(
                "the generator ended before the search did: expected one that repeats; loop over the images for ever"
            ) from None
        images = np.asarray(batch[0] if isinstance(batch, tuple | list) else batch)
        if images.shape[1:] != image_shape or not len(images):
            expected = ", ".join(map(str, image_shape))
            raise InputError(f"the generator yields {images.shape}: expected batches (B, {expected}); correct its shape")
        yield images


def _repeated(pass_over: Callable[[], Iterator[Any]], between: Callable[[], None]) -> Iterator[Any]:
    """Yield passes over the batches without end; stop after an empty pass."""
    while True:
        empty = True
        for batch in pass_over():
            empty = False
            yield batch
        if empty:
            return
        between()
