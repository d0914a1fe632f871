"""Follow a scan with a callback, and stop it when a label needs suspiciously little.

    python examples/callback.py

Every method of `ScanCallback` may be overridden. Exceptions end the scan.
"""

from collections.abc import Sequence
from typing import Any

import nc_tf
from nc_tf.datasets.rendered import signs
from nc_tf.demo import shipped_model


class Watch(nc_tf.ScanCallback):
    """Print each finished label, and stop at the first norm below a limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.norms: dict[int, float] = {}

    def on_label(self, result: nc_tf.LabelResult, starts: Sequence[Any]) -> None:
        """Note the norm of a finished label."""
        self.norms[result.label] = result.trigger.l1_norm
        print(f"label {result.label}: norm {result.trigger.l1_norm:.1f} after {result.rounds} rounds")
        if result.succeeded and result.trigger.l1_norm < self.limit:
            raise StopIteration(f"label {result.label} needs {result.trigger.l1_norm:.1f} pixels")


def main(limit: float = 15.0) -> Watch:
    """Scan six labels of the network that ships with nc_tf."""
    model = nc_tf.load_model(shipped_model("signs_infected.keras"))
    x, y = signs.render(800, seed=1)
    watch = Watch(limit)
    try:
        result = nc_tf.scan(model, x, y, targets=[33, 0, 1, 2, 3, 4], starts=1, callbacks=[watch])
        print(f"{result.verdict}: {result.reason}")
    except StopIteration as stopped:
        print(f"stopped: {stopped}")
    return watch


if __name__ == "__main__":
    main()
