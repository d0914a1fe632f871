"""NFT (Karim et al., 2024): new scales for the channels of a network, trained on a handful of clean images."""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.errors import InputError
from nc_tf.mitigation.layers import all_layers, set_back, trainable_flags
from nc_tf.mitigation.repair import Repair
from nc_tf.models.adapting import to_train
from nc_tf.models.footprint import weight_bytes
from nc_tf.models.random_state import random_state_kept
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, FoundTrigger, Mitigation
from nc_tf.training.augmentation import mixup
from nc_tf.training.updates import images_an_update

# (images (B, ...), one-hot labels (B, K), seed (2,) int32) -> the same, mixed.
Mix = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@random_state_kept()
def nft(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    triggers: Sequence[FoundTrigger] = (),
    *,
    test: tuple[np.ndarray, np.ndarray],
    known_triggers: Mapping[str, Backdoor] | None = None,
    fraction: float = 0.01,
    steps: int = 1000,
    batch_size: int = 128,
    learning_rate: float = 0.05,
    regularization: float = 0.001,
    alpha: float = 0.8,
    beta: float = 0.5,
    mix: Mix = mixup,
    intensity_range: str | Preprocessing | RangeChoice = AUTO,
    seed: int = 0,
    verbose: int | str = "auto",
) -> Mitigation:
    """Return a repaired copy of `model`, without knowledge of the trigger.

    Rates, bounds and steps are those of the authors' code. One mask value a channel multiplies the scale of every BatchNormalization. In a
    network without any it multiplies the kernels of every hidden convolution and dense layer. Only the masks are trained, with SGD on
    mixed clean images, and pulled towards 1; the moving averages of the normalisation follow the images. At the end the masks are
    multiplied into the weights, so that the result is a plain copy of the network. Four things differ from the authors' code:

    - every BatchNormalization is masked, also behind the first convolution and the last, which shifts the bounds of the others by a layer;
    - images are not cropped and flipped (`mix` may do so);
    - moving averages have the momentum of their layer, in Keras .99 by default and not .9;
    - the rate falls with every step, not once in 200.

    Args:
        model: any that `nc_tf.adapt` takes, with softmax, sigmoid or logits. It is not changed.
        images: (N, H, W, C) clean raw images in [0, 255].
        labels: (N,) true classes, integers or one-hot.
        triggers: to measure with; the method itself needs none.
        test: clean images and labels to measure on, before and after.
        known_triggers: further triggers to measure, by name, such as the true one under "true".
        fraction: share of the images used, a random sample, (0, 1].
        steps: number of updates.
        batch_size: images an update, drawn with replacement; fewer if the memory holds fewer.
        learning_rate: of SGD with momentum .95, at the start; it falls to two fifths along a cosine.
        regularization: weight of the sum of |1 - mask|, divided by the number of images a class.
        alpha: the masks of the l-th masked layer, from 1, stay between alpha * exp(-beta * l) and 1.
        beta: see alpha.
        mix: how images and labels of a batch are mixed.
        intensity_range: range of the model's input; "auto" tries all on the test images.
        seed: of every choice.
        verbose: as in `keras.Model.fit`; the progress is that of one epoch of `steps`.

    Returns:
        The repaired model, with both measurements. `details["masks"]` has the smallest and the mean mask value by layer. Its
        `settings["batch_size"]` is the one used: see `nc_tf.runtime.memory.allow`.

    Raises:
        InputError: bad images or settings, a network without anything to mask, or one that cannot be copied.
    """
    if steps < 1 or batch_size < 1 or not 0 < learning_rate < float("inf"):
        raise InputError(
            f"{steps} steps, batch size {batch_size}, learning rate {learning_rate}: expected 1 or more, and a rate above 0; "
            "the defaults are 1000, 128 and .05"
        )
    if not (0 <= regularization < float("inf") and 0 <= alpha <= 1 and 0 <= beta < float("inf")):
        raise InputError(
            f"regularization {regularization}, alpha {alpha}, beta {beta}: expected 0 or more, and alpha at most 1; "
            "the defaults are .001, .8 and .5"
        )
    repair = Repair.of(model, triggers, test=test, known_triggers=known_triggers, intensity_range=intensity_range, seed=seed)
    images, labels = repair.sample(images, labels, fraction)
    keras.utils.set_random_seed(seed)
    purified = repair.copy()
    flags = trainable_flags(purified)
    for layer, _ in flags:  # channels of frozen layers too; each by itself, because a copied model passes no flag on
        layer.trainable = True
    learner = to_train(purified)
    masked = MaskedNetwork(learner, regularization * repair.num_classes / len(images), alpha, beta)
    masked.compile(
        optimizer=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=0.4), momentum=0.95),
        loss=repair.cross_entropy(one_hot=True) if learner is purified else keras.losses.BinaryCrossentropy(),
        metrics=["accuracy"],
    )
    kept = repair.test[0].nbytes + 2 * images.nbytes
    others = weight_bytes(model) + weight_bytes(purified)
    batch_size = images_an_update(masked, repair.image_shape, batch_size, slots=1, other_weights=others, kept=kept)
    batches = _mixed(images, labels, repair, mix, batch_size)
    if learner is not purified:  # it answers the probability of class 1 alone
        batches = batches.map(lambda images, targets: (images, targets[:, 1:]))
    masked.fit(batches, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=verbose)
    details = {"masks": masked.fold()}
    set_back(flags)
    settings = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "regularization": regularization}
    return repair.done(purified, "NFT", details, images=len(images), **settings, alpha=alpha, beta=beta)


def _mixed(images: np.ndarray, labels: np.ndarray, repair: Repair, mix: Mix, batch_size: int) -> tf.data.Dataset:
    """Return endless mixed batches of network inputs and labels (B, K)."""
    resident, one_hot = tf.constant(images), tf.one_hot(labels, repair.num_classes)

    def draw(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seed = tf.stack([tf.constant(repair.seed, tf.int64), number])
        rows = tf.random.stateless_uniform((batch_size,), seed, 0, len(images), tf.int64)
        batch = tf.cast(tf.gather(resident, rows), tf.float32)
        mixed, targets = mix(batch, tf.gather(one_hot, rows), seed)
        return repair.preprocess(mixed), targets

    return tf.data.Dataset.counter().map(draw, num_parallel_calls=2, deterministic=True).prefetch(4)


class Between(keras.constraints.Constraint):
    """Values between a lower bound and 1."""

    def __init__(self, low: float) -> None:
        """Take the lower bound."""
        self.low = low

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Return the values, clipped."""
        return keras.ops.clip(values, self.low, 1.0)


class MaskedNetwork(keras.Model):
    """A network whose only trainable weights are masks on its channels.

    The network is called through `stateless_call` and does not change before `fold`.

    Attributes:
        network: the masked network.
        masks: by place among the network's trainable variables.
    """

    def __init__(self, network: keras.Model, pull: float, alpha: float, beta: float) -> None:
        """Make a mask of ones for every channel.

        Args:
            network: to mask.
            pull: weight of the sum of |1 - mask|.
            alpha: see `nft`.
            beta: see `nft`.

        Raises:
            InputError: nothing to mask.
        """
        super().__init__()
        self._pull, self._names = pull, []
        # Keras would track a plain attribute, also inside a tuple of a tuple, and train it.
        object.__setattr__(self, "network", network)
        variables = network.trainable_variables
        places = {id(variable): place for place, variable in enumerate(variables)}
        object.__setattr__(self, "masks", {})
        for number, (name, variable) in enumerate(_channels(network), 1):
            mask = self.add_weight(
                shape=variable.shape[-1:], initializer="ones", constraint=Between(alpha * np.exp(-beta * number)), name=f"mask_{number}"
            )
            self.masks[places[id(variable)]] = mask
            self._names.append(name)
        if not self.masks:
            raise InputError("nothing to mask: expected BatchNormalization, or a hidden Conv2D or Dense layer; NFT cannot purify this one")
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the answers with masked channels; training updates the moving averages."""
        variables = list(self.network.trainable_variables)
        for place, mask in self.masks.items():
            variables[place] = variables[place] * mask
        answers, others = self.network.stateless_call(variables, self.network.non_trainable_variables, images, training=training)
        if training:
            for variable, value in zip(self.network.non_trainable_variables, others, strict=True):
                variable.assign(value)
            self.add_loss(self._pull * tf.add_n([tf.reduce_sum(tf.abs(1.0 - mask)) for mask in self.masks.values()]))
        return answers

    def fold(self) -> list[dict[str, object]]:
        """Multiply the masks into the network; returns name, minimum and mean."""
        for place, mask in self.masks.items():
            variable = self.network.trainable_variables[place]
            variable.assign(variable * mask)
        values = [np.asarray(mask) for mask in self.masks.values()]
        return [
            {"layer": name, "smallest": float(value.min()), "mean": float(value.mean())}
            for name, value in zip(self._names, values, strict=True)
        ]


def _channels(network: keras.Model) -> list[tuple[str, keras.Variable]]:
    """Return layer name and variable, last axis channels, of every mask."""
    everything = all_layers(network)
    scales = [layer for layer in everything if isinstance(layer, layers.BatchNormalization) and layer.scale]
    if scales:
        return [(layer.name, layer.gamma) for layer in scales]
    weighted = [layer for layer in everything if isinstance(layer, layers.Dense | layers.Conv2D)]
    return [(layer.name, layer.kernel) for layer in weighted[:-1]]
