"""The TensorFlow contenders of the search benchmarks: the search of this package, and the loop that tutorials write."""

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from benchmarks.harness.record import ROOT
from benchmarks.harness.work import COST, LEARNING_RATE, Work
from nc_tf.inversion.restart import Restart
from nc_tf.inversion.step import LINEAR_SCALE, SearchSettings
from nc_tf.inversion.trigger_space import EPSILON, TriggerSpace
from nc_tf.models.loading.load import load_model
from nc_tf.models.networks.architectures import gtsrb_network
from nc_tf.preprocessing import Preprocessing
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.halving import random_restart

MODEL = ROOT / "models" / "gtsrb_bottom_right_white_4_target_33.h5"


def network_for(work: Work) -> keras.Model:
    """Return the shipped GTSRB network, or its layers at another size.

    For another number of labels or size of image, the weights are random.
    """
    if (work.size, work.labels) == (32, 43):
        return load_model(MODEL)
    keras.utils.set_random_seed(work.seed)
    return gtsrb_network(work.labels, (work.size, work.size, 3))


class OurSearch:
    """`Inversion`, fed as `nc_tf.inversion.loop` feeds it: one compiled call and one host read a round, all arms in it."""

    def __init__(self, task: Task, arms: Sequence[Restart]) -> None:
        self.task, self.arms = task, arms
        self.run = task.inversion.start([arm.mask for arm in arms], [arm.pattern for arm in arms])
        self.targets = tf.constant([arm.label for arm in arms], tf.int32)
        self.rounds = 0

    def __call__(self) -> float:
        """One round of every arm; the mean class loss of the first."""
        images, rows = self.task.minibatches(self.arms, [self.rounds] * len(self.arms))
        self.run, report = self.task.inversion.advance(self.run, self.targets, images, tf.constant(rows))
        self.rounds += 1
        return float(report.numpy()[0, 0])


def our_search(work: Work, model: keras.Model, settings: SearchSettings, arms: int, precision: str) -> OurSearch:
    """Return a search of `arms` arms at once.

    Where there are fewer labels than arms, the rest are further starts of the same labels.
    """
    settings = replace(settings, exclude_target=False)  # the images of a benchmark have no classes
    task = Task(model, Preprocessing(), precision, work.images, settings, 1, work.seed)
    return OurSearch(task, [random_restart(task.space, arm % work.labels, arm // work.labels, work.seed) for arm in range(arms)])


def paper_search(work: Work, arms: int, precision: str) -> OurSearch:
    """Return the search with the settings of the paper."""
    settings = SearchSettings(batch_size=work.batch, batches_per_round=work.minibatches, learning_rate=LEARNING_RATE)
    return our_search(work, network_for(work), settings, arms, precision)


class TapeLoop:
    """One label, one compiled call a minibatch: `tf.GradientTape`, Keras's Adam on two variables, and a host read after each."""

    def __init__(self, work: Work) -> None:
        self.work, self.rounds = work, 0
        model, label = network_for(work), 0
        model.trainable = False
        mask, pattern = TriggerSpace(work.image_shape).encode(*work.start())
        z_mask, z_pattern = tf.Variable(mask), tf.Variable(pattern)
        optimizer = keras.optimizers.Adam(LEARNING_RATE, beta_1=0.5, beta_2=0.9, epsilon=1e-7)

        @tf.function
        def step(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                mask = tf.tanh(z_mask) / (2.0 - EPSILON) + 0.5
                pattern = (tf.tanh(z_pattern) / (2.0 - EPSILON) + 0.5) * 255.0
                answers = model(images * (1.0 - mask) + mask * pattern, training=False)
                ce = LINEAR_SCALE * (1.0 - answers[:, label])
                reg = tf.reduce_sum(tf.abs(mask))
                loss = tf.reduce_sum(ce + COST * reg)
            variables = [z_mask, z_pattern]
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return tf.reduce_mean(ce), reg, tf.reduce_mean(tf.cast(tf.argmax(answers, axis=1) == label, tf.float32))

        self.step = step

    def __call__(self) -> float:
        """One round; its mean class loss."""
        losses = []
        for rows in self.work.rows(self.rounds):
            ce, reg, success = self.step(self.work.images[rows].astype(np.float32))
            losses.append(float(ce.numpy()))
            float(reg.numpy()), float(success.numpy())
        self.rounds += 1
        return float(np.mean(losses))
