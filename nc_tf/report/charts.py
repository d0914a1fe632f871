"""The layout of the charts of the page, in percent of the plot, so that one drawing fits a phone, a screen and a sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nc_tf.report.norms import NormBar, flagging_line, norm_bars
from nc_tf.results import HISTORY_COLUMNS
from nc_tf.storage.verdict_schema import ScanVerdict

NORM, SUCCESS, COST = (HISTORY_COLUMNS.index(name) for name in ("loss_reg", "attack_acc", "cost"))
# The narrowest plot on which marks must not overlap, and the width of a digit; CSS pixels.
NARROW, DIGIT = 260.0, 9.0
# Lines of marks under the chart; marks that do not fit are left to the table.
MARK_LINES = 4
# The widest bar, where there are few; percent.
WIDEST_BAR = 8.0


@dataclass(frozen=True)
class Tick:
    """A number beside an axis: its place, percent from the left or from the top, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Bar:
    """The norm of a label; left, width, top and height in percent.

    Attributes:
        kind: "flagged", "plain", or "uncounted" where the norm was not compared.
        title: shown when the pointer rests on it.
    """

    left: float
    width: float
    top: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class Mark:
    """The number of a flagged label under its bar: percent from the left, and its line."""

    at: float
    line: int
    text: str


@dataclass(frozen=True)
class NormChart:
    """The norms of all labels; heights in percent from the top, None for a line that does not exist."""

    bars: tuple[Bar, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    median: float | None
    flagging: float | None

    @property
    def mark_lines(self) -> int:
        """The number of lines that the marks take."""
        return max((mark.line + 1 for mark in self.marks), default=0)


@dataclass(frozen=True)
class LineChart:
    """A quantity over the rounds of a search.

    Attributes:
        title: the name of the quantity.
        path: SVG path data in a square of 100; interrupted where there is no number.
        end: the same for the last point alone.
        y_ticks: numbers beside the vertical axis.
        x_ticks: numbers below the horizontal axis.
        threshold: percent from the top, where the quantity has one.
        summary: the curve in words.
    """

    title: str
    path: str
    end: str
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    threshold: float | None
    summary: str


def norm_chart(verdict: ScanVerdict) -> NormChart:
    """Return the layout of the chart of all norms."""
    return bar_chart(norm_bars(verdict), verdict.median, flagging_line(verdict))


def bar_chart(norms: Sequence[NormBar], median: float | None, flagging: float | None = None, *, quantity: str = "norm") -> NormChart:
    """Return the layout of a chart with a bar a label.

    Args:
        norms: the norms, or other sizes, of all labels.
        median: of those that are compared, if there is one.
        flagging: line below which a label is flagged, if there is one.
        quantity: the name of the sizes.
    """
    top = 1.08 * max([*(norm.norm or 0.0 for norm in norms), median or 0.0, 1e-6])
    slot = 100.0 / max(len(norms), 1)
    # From a hundred labels on a gap between bars would be thinner than a pixel.
    width = min(slot * (0.72 if len(norms) <= 100 else 1.0), WIDEST_BAR)
    bars, centres = [], []
    for position, norm in enumerate(norms):
        number = "none" if norm.norm is None else f"{norm.norm:.2f}"
        left = position * slot + (slot - width) / 2
        share = 100 * (norm.norm or 0.0) / top
        bars.append(Bar(_p(left), _p(width), _p(100 - share), _p(share), norm.kind, f"{norm.called}: {quantity} {number}"))
        centres.append((position + 0.5) * slot)
    every = _nice(len(norms) / 8, whole=True)
    x_ticks = [Tick(_p(centres[position]), str(norms[position].label)) for position in range(0, len(norms), int(every))]
    marked = [(centre, str(norm.label)) for centre, norm in zip(centres, norms, strict=True) if norm.kind == "flagged"]

    def height_of(value: float | None) -> float | None:
        return None if value is None or value > top else _p(100 - 100 * value / top)

    return NormChart(tuple(bars), _ticks(top), tuple(x_ticks), _marks(marked), height_of(median), height_of(flagging))


def history_charts(history: np.ndarray, threshold: float | None) -> list[LineChart]:
    """Return charts of success rate, norm and cost over the rounds.

    Args:
        history: (rounds, 7), rounds >= 1; NaN and infinity leave gaps.
        threshold: success rate that a trigger must reach.

    Returns:
        Three charts.
    """
    success, norm, cost = (np.asarray(history[:, column], np.float64) for column in (SUCCESS, NORM, COST))
    percent = (Tick(0.0, "100%"), Tick(50.0, "50%"), Tick(100.0, "0%"))
    finite = norm[np.isfinite(norm)]
    top = 1.08 * max(float(finite.max()) if finite.size else 0.0, 1e-6)
    decades, cost_ticks = _decades(cost)
    line = None if threshold is None else _p(100 - 100 * threshold)
    wanted = "" if threshold is None else f" (dashed: success threshold, {threshold:.0%})"
    return [
        _line_chart(f"success rate{wanted}", success, success, percent, "{:.1%}", line),
        _line_chart("norm, pixels", norm, norm / top, _ticks(top, 3), "{:.2f}"),
        _line_chart("cost", cost, decades, cost_ticks, "{:.2g}"),
    ]


def _line_chart(
    title: str, values: np.ndarray, heights: np.ndarray, y_ticks: Sequence[Tick], shape: str, threshold: float | None = None
) -> LineChart:
    """Return the chart of a quantity.

    `heights` are the places of its values on the vertical axis, in [0, 1].
    """
    rounds = len(values)
    across = np.linspace(0.0, 100.0, rounds) if rounds > 1 else np.array([50.0])
    points = [(x, 100 - 100 * y) if math.isfinite(y) else None for x, y in zip(across, heights, strict=True)]
    path, pen_down = [], False
    for point in points:
        if point is not None:
            # A line of no length has round ends, so that a single point shows.
            path.append(f"L{_p(point[0])} {_p(point[1])}" if pen_down else f"M{_p(point[0])} {_p(point[1])}h0")
        pen_down = point is not None
    last = points[-1]
    finite = values[np.isfinite(values)]
    text = f"{title} over {rounds} rounds: "
    if finite.size:
        first, low, high, end = (shape.format(number) for number in (finite[0], finite.min(), finite.max(), finite[-1]))
        text += f"begins at {first}, lies between {low} and {high}, ends at {end}"
    else:
        text += "never a finite number"
    x_ticks = (Tick(_p(across[0]), "1"), Tick(_p(across[-1]), str(rounds))) if rounds > 1 else (Tick(50.0, "1"),)
    end_path = "" if last is None else f"M{_p(last[0])} {_p(last[1])}h0"
    return LineChart(title, "".join(path), end_path, tuple(y_ticks), x_ticks, threshold, text)


def _decades(cost: np.ndarray) -> tuple[np.ndarray, tuple[Tick, ...]]:
    """Return the places of costs on a logarithmic axis, and its ticks.

    Zero lies at the foot of the axis.
    """
    positive = cost[np.isfinite(cost) & (cost > 0)]
    if not positive.size:
        return np.where(np.isfinite(cost), 0.0, np.nan), (Tick(100.0, "0"),)
    low, high = math.floor(math.log10(positive.min()) - 1e-9), math.ceil(math.log10(positive.max()) + 1e-9)
    foot = low - 1 if (cost == 0).any() else low
    with np.errstate(divide="ignore", invalid="ignore"):
        places = (np.log10(cost) - foot) / (high - foot)
    every = math.ceil((high - low) / 3)
    ticks = [Tick(_p(100 - 100 * (power - foot) / (high - foot)), f"{10.0**power:g}") for power in range(high, low - 1, -every)]
    if foot < low:
        ticks.append(Tick(100.0, "0"))
    return np.where(cost == 0, 0.0, places), tuple(ticks)


def _marks(marked: Sequence[tuple[float, str]]) -> tuple[Mark, ...]:
    """Return the numbers of flagged labels under their bars.

    Each stands in the first line in which it overlaps no other, even on a narrow screen.
    """
    ends, marks = [-math.inf] * MARK_LINES, []
    for centre, text in marked:
        half = (len(text) + 1) * DIGIT / 2
        for line in range(MARK_LINES):
            if ends[line] <= centre / 100 * NARROW - half:
                ends[line] = centre / 100 * NARROW + half
                marks.append(Mark(_p(centre), line, text))
                break
    return tuple(marks)


def _ticks(top: float, most: int = 5) -> tuple[Tick, ...]:
    """Return round numbers from 0 up to `top`."""
    step = _nice(top / most)
    return tuple(Tick(_p(100 - 100 * number * step / top), f"{number * step:g}") for number in range(int(top / step) + 1))


def _nice(least: float, *, whole: bool = False) -> float:
    """Return the smallest round number that is at least `least`.

    Round numbers are 1, 2, 2.5 or 5 times a power of ten. With `whole` the result is a whole number.
    """
    least = max(least, 1.0) if whole else least
    power = 10.0 ** math.floor(math.log10(least))
    factors = (1.0, 2.0, 5.0, 10.0) if whole else (1.0, 2.0, 2.5, 5.0, 10.0)
    return next(factor * power for factor in factors if factor * power >= least * (1 - 1e-9))


def _p(value: float) -> float:
    """Return percent, as precise as a screen can show."""
    return round(float(value), 2)
