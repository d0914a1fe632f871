"""A picture of the change that every attack makes to a rendered sign: docs/images/attacks.png.

python -m benchmarks.mitigation.attack_pictures
"""

import sys

import numpy as np

from benchmarks.harness.record import ROOT
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.storage.files import whole_file

OUT = ROOT / "docs" / "images" / "attacks.png"
TARGET, SEED = 33, 0


def main() -> int:
    """Draw the picture."""
    load_tensorflow()
    from matplotlib.figure import Figure

    from nc_tf.attacks.patch import patch
    from nc_tf.attacks.poison_types import POISON_TYPES
    from nc_tf.datasets.rendered import signs

    _, (images, labels) = signs.load_data(num_train=1, num_test=43, seed=SEED)
    clean = images[labels == 14][:1].astype(np.float32)
    shape = clean.shape[1:]
    attacks = {"patch": patch(shape, TARGET)} | {name: make(shape, TARGET, SEED)[0] for name, make in POISON_TYPES.items()}
    figure = Figure(figsize=(1.5 * (len(attacks) + 1), 3.4), layout="constrained")
    axes = figure.subplots(2, len(attacks) + 1)
    panels = {"clean": clean[0]} | {name: attack(clean)[0] for name, attack in attacks.items()}
    for (above, below), (name, picture) in zip(axes.T, panels.items(), strict=True):
        above.imshow(picture / 255)
        above.set_title(name)
        below.imshow(np.clip(0.5 + (picture - clean[0]) / 128, 0, 1))
    axes[1, 0].set_ylabel("change, doubled")
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    with whole_file(OUT) as temporary:
        figure.savefig(temporary, dpi=110)
    print(f"written to {OUT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
