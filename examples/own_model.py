"""Scan a model file with own images, and repair the model if a label is flagged.

    python examples/own_model.py
    python examples/own_model.py suspicious.keras images.npz

Without arguments it takes the infected network that ships with nc_tf and rendered signs. Six of the 43 labels are searched, to be quick.
"""

import argparse

import numpy as np

import nc_tf
from nc_tf.datasets.rendered import signs
from nc_tf.demo import shipped_model


def main(argv: list[str] | None = None) -> nc_tf.ScanResult:
    """Scan, print, and repair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=shipped_model("signs_infected.keras"))
    parser.add_argument("images", nargs="?", help=".npz with x, raw pixels in [0, 255], and y, their classes")
    arguments = parser.parse_args(argv)

    model = nc_tf.load_model(arguments.model)  # runs nothing that is in the file
    if arguments.images:
        data = np.load(arguments.images)
        x, y, targets = data["x"], data["y"], None
    else:
        (x, y), targets = signs.render(800, seed=1), [33, 0, 1, 2, 3, 4]

    result = nc_tf.scan(model, x, y, targets=targets, starts=1)
    print(f"{result.verdict}: {result.reason}")
    for entry in sorted(result.labels, key=lambda entry: entry.trigger.l1_norm):
        print(f"label {entry.label}: norm {entry.trigger.l1_norm:.1f}, ASR on held-out images {entry.attack_success_rate:.1%}")

    if result.triggers:
        tested = len(x) // 5
        repaired = nc_tf.unlearn(
            model, x[tested:], y[tested:], result.triggers, test=(x[:tested], y[:tested]), fraction=1.0, epochs=2, verbose=0
        )
        print(f"clean accuracy: {repaired.before.clean_accuracy:.1%} before, {repaired.after.clean_accuracy:.1%} after")
        for name, rate in repaired.before.attack_success_rate.items():
            print(f"ASR, {name} trigger: {rate:.1%} before, {repaired.after.attack_success_rate[name]:.1%} after")
        repaired.model.save("repaired.keras")
    return result


if __name__ == "__main__":
    main()
