"""The checked input of a repair: frozen, and checked again where a part is replaced."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import keras
import numpy as np
import pytest
from networks import IMAGE_SHAPE
from planted import TEST, TRUE

from nc_tf.attacks.patch import patch
from nc_tf.detection.recognition import RangeChoice
from nc_tf.errors import InputError
from nc_tf.mitigation import repair as module
from nc_tf.mitigation.repair import Repair


def test_it_is_frozen_and_a_replaced_part_is_checked(infected: keras.Model) -> None:
    repair = Repair.of(infected, [TRUE], test=TEST, known_triggers={"square": patch(IMAGE_SHAPE, 4, size=2)})
    assert list(repair.measured) == ["reversed", "square"]
    with pytest.raises(FrozenInstanceError):
        repair.seed = 1  # type: ignore[misc]
    with pytest.raises(InputError, match="reversed trigger with target label 6: expected 0 to 5, the classes of the model"):
        replace(repair, triggers=(patch(IMAGE_SHAPE, 6),))
    assert list(replace(repair, triggers=()).measured) == ["square"]


def test_the_range_is_chosen_once(infected: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    choose = module.choose_range

    def watched(*given: Any) -> RangeChoice:
        asked.append(given[0])
        return choose(*given)

    monkeypatch.setattr(module, "choose_range", watched)
    repair = Repair.of(infected, [TRUE], test=TEST)
    assert repair.preprocess is repair.range_choice.preprocess
    again = Repair.of(infected, [TRUE], **repair.keywords)
    assert asked == ["auto", repair.range_choice]
    assert again.range_choice is repair.range_choice


def test_every_defence_with_a_seed_gets_the_same_sample(infected: keras.Model) -> None:
    one, other = (Repair.of(infected, [], test=TEST, seed=seed).sample(*TEST, 0.1) for seed in (3, 3))
    np.testing.assert_array_equal(one[0], other[0])
    assert len(one[0]) == round(0.1 * len(TEST[0]))
    assert not np.array_equal(one[0], Repair.of(infected, [], test=TEST, seed=4).sample(*TEST, 0.1)[0])
