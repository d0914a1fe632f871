"""Figures of a scan with matplotlib, which callers save and show."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nc_tf.report.norms import compared, flagging_line, norm_bars
from nc_tf.results import LabelResult, ScanResult
from nc_tf.storage.pixels import drawable
from nc_tf.storage.verdict_file import scan_verdict

ALARM, CALM = "#c0392b", "#7f8c8d"


def trigger_gallery(
    result: ScanResult, images: np.ndarray, labels: np.ndarray, *, class_names: Sequence[str] | None = None, num_labels: int = 3
) -> Figure:
    """Return a figure of all norms and, below, of the smallest triggers.

    Each trigger has its mask, the pattern under the mask, and three images without and with it.

    Args:
        result: a scan with at least one label.
        images: (N, H, W, C) raw images to stamp, or clips (N, T, H, W, C), which are drawn as film strips, [0, 255].
        labels: (N,) their classes; images of the target are not stamped.
        class_names: one a class.
        num_labels: triggers shown at most; flagged ones come first.

    Returns:
        The figure, neither shown nor saved.
    """
    ranked = sorted(result.labels, key=lambda entry: (entry.label not in result.flagged, not _counts(entry, result), entry.trigger.l1_norm))
    shown = ranked[:num_labels]
    figure = Figure(figsize=(11, 2.6 + 1.7 * len(shown)), dpi=110, layout="constrained")
    grid = figure.add_gridspec(1 + len(shown), 8, height_ratios=[1.5] + [1] * len(shown))
    draw_norms(figure.add_subplot(grid[0, :]), result)
    for row, entry in enumerate(shown, start=1):
        others = images[labels != entry.label][:3].astype(np.float32)
        trigger = entry.trigger
        panels = [trigger.mask[..., None] * 255.0, trigger.overlay]
        titles = [_title(entry, class_names), "trigger"]
        for image in others:
            panels += [image, trigger(image)]
            titles += ["clean", "stamped"]
        for column, (panel, title) in enumerate(zip(panels, titles, strict=True)):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(drawable(panel), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(title, fontsize=8, color=ALARM if entry.label in result.flagged and column == 0 else "black")
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


def _counts(entry: LabelResult, result: ScanResult) -> bool:
    return compared(entry.status, entry.anomaly_index, result.mad)


def _title(entry: LabelResult, class_names: Sequence[str] | None) -> str:
    name = f"\n{class_names[entry.label]}" if class_names is not None else ""
    return f"label {entry.label}, norm {entry.trigger.l1_norm:.1f}{name}"
