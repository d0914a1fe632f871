"""The size of networks' logits, and the range of sizes that a search tolerates: the tables of docs/explanation/searched-copy.md.

    nc-tf data signs --out data
    python -m benchmarks.scan.logit_scale data/signs.npz nc_tf/models/weights/signs_infected.keras --label 33 --beside 0 12
    python -m benchmarks.scan.logit_scale DATA MODEL --intensity-range mnist

The first takes a minute on two cores.
"""

import argparse
from unittest import mock

import keras
import numpy as np

import nc_tf
from nc_tf.datasets.read import read
from nc_tf.evaluation import accuracy
from nc_tf.models import frozen
from nc_tf.models.scale import lead
from nc_tf.preprocessing import preprocessing

FACTORS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
MOST_IMAGES = 600


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="clean images, as nc-tf scan takes them")
    parser.add_argument("model", help="a model file")
    parser.add_argument("--intensity-range", default="raw", help="what the model wants of raw pixels")
    parser.add_argument("--label", type=int, help="the infected label; without it nothing is searched")
    parser.add_argument("--beside", type=int, nargs="*", default=[], help="clean labels")
    arguments = parser.parse_args()
    model = nc_tf.load_model(arguments.model)
    data = read(arguments.data, image_shape=model.input_shape[1:])
    some = np.random.default_rng(0).permutation(len(data.images))[:MOST_IMAGES]
    images, labels, preprocess = data.images[some], data.labels[some], preprocessing(arguments.intensity_range)
    network = frozen.FrozenNetwork(model, preprocess, "float32", images)
    looked_at = frozen.evenly_spaced(images, frozen.MOST_LOOKED_AT).astype(np.float32)
    recognised = accuracy(model, images, labels, preprocess)
    size = lead(frozen.in_parts(network.scores, looked_at))
    print(f"{arguments.model}: accuracy {recognised:.3f}, lead {size:.1f}", flush=True)
    if arguments.label is not None:
        print("| factor | norm of the infected label | norms of clean labels |\n| --- | --- | --- |")
        for factor in FACTORS:
            norms = search(model, factor, images, labels, [arguments.label, *arguments.beside], arguments.intensity_range)
            clean = ", ".join(f"{norms[label]:.1f}" for label in arguments.beside)
            print(f"| {factor:g} | {norms[arguments.label]:.1f} | {clean} |", flush=True)


def search(
    model: keras.Model, factor: float, images: np.ndarray, labels: np.ndarray, targets: list[int], intensity_range: str
) -> dict[int, float]:
    """Return norms by label, with logits multiplied by a factor.

    There is one start a label, and the logits are not rescaled.
    """
    last = model.layers[-1]
    kernel, bias = last.get_weights()
    last.set_weights([factor * kernel, factor * bias])
    try:
        with mock.patch.object(frozen, "logit_scale", return_value=1.0):
            found = nc_tf.scan(model, images, labels, targets=targets, starts=1, precision="float32", intensity_range=intensity_range)
    finally:
        last.set_weights([kernel, bias])
    return {entry.label: entry.trigger.l1_norm for entry in found.labels}


if __name__ == "__main__":
    main()
