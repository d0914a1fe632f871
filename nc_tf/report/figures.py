"""Figures of a scan with matplotlib, which callers save and show."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nc_tf.report.norms import compared, flagged_by_norm, flagging_line, norm_bars
from nc_tf.report.trigger_pictures import chequered
from nc_tf.results import ScanResult, Trigger, Warp
from nc_tf.storage.pixels import drawable
from nc_tf.storage.verdict_file import scan_verdict

ALARM, CALM = "#c0392b", "#7f8c8d"


def trigger_gallery(
    result: ScanResult, images: np.ndarray, labels: np.ndarray, *, class_names: Sequence[str] | None = None, num_labels: int = 3
) -> Figure:
    """Return a figure of all norms and, below, of the smallest triggers.

    Each trigger has its mask, the pattern under the mask, and three images without and with it. A warp has squares that it bends in place
    of the first two.

    Args:
        result: a scan with at least one label.
        images: (N, H, W, C) raw images to stamp, or clips (N, T, H, W, C), which are drawn as film strips, [0, 255].
        labels: (N,) their classes; images of the target are not stamped.
        class_names: one a class.
        num_labels: triggers shown at most; flagged ones come first, each that of the detector that flags the label.

    Returns:
        The figure, neither shown nor saved.
    """
    shown = _ranked(result)[:num_labels]
    figure = Figure(figsize=(11, 2.6 + 1.7 * len(shown)), dpi=110, layout="constrained")
    grid = figure.add_gridspec(1 + len(shown), 8, height_ratios=[1.5] + [1] * len(shown))
    draw_norms(figure.add_subplot(grid[0, :]), result)
    for row, (trigger, size, flagged) in enumerate(shown, start=1):
        others = images[labels != trigger.label][:3].astype(np.float32)
        panels = _panels(trigger)
        name = f"\n{class_names[trigger.label]}" if class_names is not None else ""
        titles = [f"label {trigger.label}, {size}{name}", "trigger"]
        for image in others:
            panels += [image, trigger(image)]
            titles += ["clean", "stamped"]
        for column, (panel, title) in enumerate(zip(panels, titles, strict=True)):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(drawable(panel), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(title, fontsize=8, color=ALARM if flagged and column == 0 else "black")
    figure.suptitle(f"{result.verdict}: anomaly index {result.anomaly_index:.2f}", fontsize=12)
    return figure


def draw_norms(axes: Axes, result: ScanResult) -> None:
    """Draw the L1 norm of every label as a bar.

    Lines show the median and the norm below which a label is flagged.
    """
    verdict = scan_verdict(result, {}, {})
    for bar in norm_bars(verdict):
        # A norm that did not enter the comparison is drawn pale.
        axes.bar(bar.label, bar.norm or 0.0, color=ALARM if bar.kind == "flagged" else CALM, alpha=0.3 if bar.kind == "uncounted" else 1.0)
    if verdict.median is not None:
        axes.axhline(verdict.median, color="black", linewidth=1, label=f"median {verdict.median:.1f}")
        flagging = flagging_line(verdict)
        if flagging is not None:
            axes.axhline(flagging, color=ALARM, linewidth=1, linestyle="--", label=f"flagged below {flagging:.1f}")
        axes.legend(fontsize=8, loc="lower right")
    axes.set_xlabel("label")
    axes.set_ylabel("L1 norm of the mask, pixels")
    axes.margins(x=0.01)


def _ranked(result: ScanResult) -> list[tuple[Trigger | Warp, str, bool]]:
    """Return triggers with their sizes in words and whether they are flagged.

    Triggers of flagged labels come first, then flagged changes of the whole image, then the smallest of the others.
    """
    by_norm = set(flagged_by_norm(scan_verdict(result, {}, {})))
    changes = [(change.trigger, change.sized, True) for change in result.flagged_changes]
    ranked = sorted(
        result.labels,
        key=lambda entry: (
            entry.label not in by_norm,
            not compared(entry.status, entry.anomaly_index, result.mad),
            entry.trigger.l1_norm,
        ),
    )
    entries = [(entry.trigger, f"norm {entry.trigger.l1_norm:.1f}", entry.label in by_norm) for entry in ranked]
    return [*entries[: len(by_norm)], *changes, *entries[len(by_norm) :]]


def _panels(trigger: Trigger | Warp) -> list[np.ndarray]:
    """Return two pictures of a trigger alone."""
    if isinstance(trigger, Warp):
        squares = chequered(trigger.image_shape)
        return [squares, trigger(squares[None])[0]]
    return [trigger.mask[..., None] * 255.0, trigger.overlay]
