"""The page of a scan that flags classes: which trigger the headline names, and what each card says."""

from typing import Any

import numpy as np
import pytest
from pages import a_trigger, a_verdict, spread

from nc_tf.backdoor import AllToAllTrigger
from nc_tf.report.page import report_html, shown_labels
from nc_tf.report.pairs import shown_sources
from nc_tf.results import Status, UntargetedResult, Verdict
from nc_tf.storage.verdict_schema import verdict_from

CYCLE = tuple(np.roll(np.arange(6), -1).tolist())


def a_source(source: int, target: int, norm: float, *, flagged: bool = True) -> dict[str, Any]:
    return {
        **{"source": source, "target": target, "l1_norm": norm, "attack_success_rate": 0.97, "kept_rate": 0.9},
        **{"again": "never_succeeded", "norm_after": None, "left_rate": None},
        **{"num_measured": 50, "status": "max_rounds", "starts": 2, "rounds": 40, "flagged": flagged},
    }


def page(pairs: list[tuple[int, int]], sources: list[dict[str, Any]]) -> str:
    """Return the page of a scan without flagged labels, with an untargeted search that found 77.77 pixels."""
    away = {"l1_norm": 77.77, "attack_success_rate": 0.9, "status": "max_rounds", "starts": 2, "rounds": 40, "labels": [0], "answers": [1]}
    content = a_verdict(spread(6), names=["Stop", "Yield", "c", "d", "e", "f"]) | {
        "verdict": str(Verdict.SUSPECTED),
        "flagged": [],
        "pairs": [{"source": source, "target": target, "attack_success_rate": 0.9} for source, target in pairs],
        "sources": sources,
        "untargeted": away,
    }
    verdict, square = verdict_from(content), a_trigger(0, 9.0)
    trigger = AllToAllTrigger(square.mask, square.pattern, CYCLE)
    found = UntargetedResult(trigger, Status.MAX_ROUNDS, np.arange(6), np.array(CYCLE), 2, 40)
    triggers = {label: a_trigger(label, 9.0) for label in shown_labels(verdict)}
    return report_html(verdict, triggers, all_to_all=found, sources=dict.fromkeys(shown_sources(verdict), trigger))


def test_a_flagged_class_is_named_with_its_own_norm() -> None:
    html = page([(0, 1)], [a_source(0, 1, 4.2), a_source(2, 3, 30.0, flagged=False)])
    assert "A trigger of 4.20 pixels is enough to send images of class 0 (Stop) to label 1 (Yield)." in html
    assert "77.77 pixels is enough" not in html
    assert html.count("<h3 id=") - html.count('<h3 id="card-') == 2
    assert '<h3 id="source-0">Class 0 (Stop) to label 1 (Yield)</h3>' in html
    assert "<dt>once the model ignores it</dt><dd>none that works</dd>" in html
    assert html.count("▲ flagged</span>") == 1


def test_further_flagged_classes_are_counted() -> None:
    html = page([(0, 1), (2, 3)], [a_source(0, 1, 4.2), a_source(2, 3, 5.0)])
    assert "to label 1 (Yield). Triggers of classes that are flagged: 2." in html


def test_all_classes_are_named_where_they_are_flagged() -> None:
    html = page(list(enumerate(CYCLE)), [a_source(0, 1, 4.2, flagged=False)])
    assert "A trigger of 77.77 pixels is enough to send images of 6 classes to other labels, each to its own." in html


@pytest.mark.parametrize("pairs", [[], [(0, 1)]])
def test_without_a_trigger_to_show_no_norm_is_named(pairs: list[tuple[int, int]]) -> None:
    html = page(pairs, [a_source(0, 1, 4.2, flagged=bool(pairs))])
    assert ("One of the detectors below suspects a backdoor." in html) == (not pairs)
