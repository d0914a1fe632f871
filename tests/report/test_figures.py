"""Figures of a scan: what is on them, and that drawing them leaves no state behind."""

import io
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from networks import corner_images
from PIL import Image
from quick import made_up

from nc_tf.report.figures import ALARM, CALM, draw_norms, trigger_gallery
from nc_tf.results import ChangeResult, Detection, LabelResult, ScanResult, Status, Trigger, Verdict, Warp
from nc_tf.scanning.scan import judge

IMAGES, LABELS = corner_images(60)
NORMS = (10.0, 11.0, 12.0, 13.0, 1.0, 9.5)


def scanned(failed: tuple[int, ...] = ()) -> ScanResult:
    statuses = [Status.NEVER_SUCCEEDED if label in failed else Status.CONVERGED for label in range(len(NORMS))]
    return judge([made_up(label, norm, statuses[label]) for label, norm in enumerate(NORMS)])


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def rendered(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


@pytest.mark.slow
@pytest.mark.parametrize(("num_labels", "rows"), [(1, 1), (3, 3), (99, 6)])
def test_a_gallery_is_a_figure_with_a_chart_and_eight_panels_a_label(num_labels: int, rows: int) -> None:
    figure = trigger_gallery(scanned(), IMAGES, LABELS, num_labels=num_labels)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 1 + 8 * rows
    assert rendered(figure).std() > 0


def test_flagged_labels_come_first_then_the_smallest_working_ones() -> None:
    figure = trigger_gallery(scanned(failed=(5,)), IMAGES, LABELS)
    assert [title for title in titles(figure) if title.startswith("label")] == [
        "label 4, norm 1.0",
        "label 0, norm 10.0",
        "label 1, norm 11.0",
    ]
    assert figure.axes[1].title.get_color() == ALARM
    assert figure.axes[9].title.get_color() == "black"


@pytest.mark.parametrize("detector", ["picture", "warp"])
def test_a_label_that_a_change_flags_is_shown_with_that_change(detector: str) -> None:
    places = np.moveaxis(np.mgrid[:8, :8], 0, -1).astype(np.float32)
    places[1:-1, 1:-1] += 0.5
    trigger = Trigger(2, np.full((8, 8), 0.05, np.float32), np.ones((8, 8, 3), np.float32)) if detector == "picture" else Warp(2, places, 3)
    change = ChangeResult(detector, trigger, 0.05, Status.MAX_ROUNDS, 0.95, 0.0, 50)
    found = Detection(detector, "", 9.0, 0.0, Verdict.SUSPECTED, "", (2,))
    norms = [made_up(label, norm) for label, norm in enumerate((10.0, 11.0, 12.0, 13.0, 12.5, 9.5))]
    result = replace(judge(norms, rule="robust", others=[found]), changes=(change,))
    assert result.flagged == (2,)
    figure = trigger_gallery(result, IMAGES, LABELS, num_labels=2)
    assert [title for title in titles(figure) if title.startswith("label")] == [f"label 2, {change.sized}", "label 5, norm 9.5"]
    assert [figure.axes[place].title.get_color() for place in (1, 9)] == [ALARM, "black"]
    image, stamped = (np.asarray(axes.images[0].get_array()) for axes in figure.axes[3:5])
    np.testing.assert_allclose(stamped, trigger(IMAGES[LABELS != 2][:1].astype(np.float32))[0], atol=0.5)
    assert np.abs(stamped.astype(float) - image).max() > 1.0
    assert rendered(figure).std() > 0


def test_classes_are_named_where_names_are_known() -> None:
    figure = trigger_gallery(scanned(), IMAGES, LABELS, class_names=["a", "b", "c", "d", "stop", "f"], num_labels=1)
    assert titles(figure)[1] == "label 4, norm 1.0\nstop"


def test_panels_show_the_mask_the_trigger_and_pairs_without_and_with_it() -> None:
    result = scanned()
    figure = trigger_gallery(result, IMAGES, LABELS, num_labels=1)
    panels = [np.asarray(axes.images[0].get_array()) for axes in figure.axes[1:]]
    assert titles(figure)[2:] == ["trigger"] + ["clean", "stamped"] * 3
    (trigger,) = result.triggers
    assert isinstance(trigger, Trigger)
    np.testing.assert_allclose(panels[0], trigger.mask * 255, atol=0.5)
    np.testing.assert_allclose(panels[1], trigger.mask[..., None] * trigger.pattern, atol=0.5)
    others = IMAGES[LABELS != 4][:3].astype(np.float32)
    for number, image in enumerate(others):
        np.testing.assert_allclose(panels[2 + 2 * number], image, atol=0.5)
        np.testing.assert_allclose(panels[3 + 2 * number], trigger(image), atol=0.5)


def test_grayscale_images_are_drawn_gray() -> None:
    gray = IMAGES[..., :1]

    def without_colour(entry: LabelResult) -> LabelResult:
        trigger = entry.trigger
        return LabelResult(Trigger(entry.label, trigger.mask, trigger.pattern[..., :1]), entry.status, 1.0, 0.0, 1, 1)

    result = judge([without_colour(entry) for entry in scanned().labels])
    figure = trigger_gallery(result, gray, LABELS, num_labels=2)
    assert all(np.asarray(axes.images[0].get_array()).ndim == 2 for axes in figure.axes[1:])
    assert all(axes.images[0].get_clim() == (0.0, 255.0) for axes in figure.axes[1:])
    assert rendered(figure).std() > 0


def test_fewer_than_three_images_leave_panels_out() -> None:
    figure = trigger_gallery(scanned(), IMAGES[:2], LABELS[:2], num_labels=1)
    assert len(figure.axes) == 1 + 2 + 2 * 2


def alphas(result: ScanResult) -> list[float]:
    axes = Figure().add_subplot()
    draw_norms(axes, result)
    return [float(bar.get_alpha() or 0.0) for bar in axes.patches if isinstance(bar, Rectangle)]


def test_the_chart_has_a_bar_a_label_red_where_flagged_and_pale_where_nothing_worked() -> None:
    axes = Figure().add_subplot()
    draw_norms(axes, scanned(failed=(5,)))
    bars = {round(bar.get_x() + bar.get_width() / 2): bar for bar in axes.patches if isinstance(bar, Rectangle)}
    assert [bars[label].get_height() for label in range(6)] == pytest.approx(NORMS)
    assert [bars[label].get_alpha() for label in range(6)] == [1, 1, 1, 1, 1, 0.3]
    colours = {label: bar.get_facecolor()[:3] for label, bar in bars.items()}
    assert colours[4] == pytest.approx([int(ALARM[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    assert colours[0] == pytest.approx([int(CALM[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def test_a_norm_that_was_not_compared_is_pale_though_its_trigger_works() -> None:
    weak = replace(made_up(6, 5.0), attack_success_rate=0.5)
    result = judge([*(made_up(label, norm) for label, norm in enumerate(NORMS)), weak], rule="robust")
    assert result.labels[6].succeeded
    assert alphas(result) == [1.0] * 6 + [0.3]
    assert titles(trigger_gallery(result, IMAGES, LABELS))[1 + 8].startswith("label 5"), "what was compared comes first"


def test_where_no_norms_could_be_compared_those_of_working_triggers_are_not_pale() -> None:
    alike = judge([*(made_up(label, 7.0) for label in range(5)), made_up(5, 3.0, Status.NEVER_SUCCEEDED)])
    assert alike.mad == 0.0
    assert alphas(alike) == [1.0] * 5 + [0.3]
    assert alphas(judge([made_up(0, 3.0), made_up(1, 4.0, Status.NEVER_SUCCEEDED)])) == [1.0, 0.3]


def lines(result: ScanResult) -> dict[str, float]:
    """The heights of the horizontal lines, by what the legend says of them."""
    axes = Figure().add_subplot()
    draw_norms(axes, result)
    return {str(line.get_label()): float(np.asarray(line.get_ydata())[0]) for line in axes.lines}


@pytest.mark.parametrize("rule", ["paper", "robust"])
def test_the_chart_draws_the_median_and_the_line_below_which_a_label_is_flagged(rule: str) -> None:
    result = judge([made_up(label, norm) for label, norm in enumerate((*NORMS, 10.5, 11.5, 12.5))], rule=rule)
    below = f"flagged below {result.flagging_norm:.1f}"
    assert lines(result) == pytest.approx({f"median {result.median:.1f}": result.median, below: result.flagging_norm})


def test_a_line_that_does_not_exist_or_lies_below_zero_is_not_drawn() -> None:
    alike = judge([made_up(label, 7.0) for label in range(6)])
    wide = judge([made_up(label, norm) for label, norm in enumerate((1.0, 5.0, 9.0, 13.0, 17.0))])
    assert (np.isnan(alike.flagging_norm), wide.flagging_norm < 0) == (True, True)
    assert (list(lines(alike)), list(lines(wide))) == (["median 7.0"], ["median 9.0"])


@pytest.mark.slow
@pytest.mark.parametrize("result", [judge([made_up(0, 3.0), made_up(1, 4.0)]), scanned(failed=tuple(range(6)))], ids=["few", "none worked"])
def test_an_inconclusive_scan_can_be_drawn_too(result: ScanResult) -> None:
    figure = trigger_gallery(result, IMAGES, LABELS)
    assert not figure.axes[0].lines
    assert "inconclusive" in figure.get_suptitle()
    assert rendered(figure).std() > 0


def test_drawing_leaves_no_state_in_pyplot() -> None:
    before = plt.get_fignums()
    trigger_gallery(scanned(), IMAGES, LABELS)
    assert plt.get_fignums() == before
