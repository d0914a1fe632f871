"""A trigger as a file: what goes in comes out, and a broken file says so."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from networks import corner_trigger

from nc_tf.errors import InputError
from nc_tf.results import Trigger
from nc_tf.storage.trigger_file import load_trigger, save_trigger


@st.composite
def triggers(draw: st.DrawFn) -> Trigger:
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.sampled_from([1, 3])))
    mask = draw(hnp.arrays(np.float32, shape[:2], elements=st.floats(0, 1, width=32)))
    pattern = draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 255, width=32)))
    return Trigger(draw(st.integers(0, 10_000)), mask, pattern)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(trigger=triggers(), more=hnp.arrays(np.float64, 3, elements=st.floats(-1e9, 1e9)))
def test_a_trigger_comes_back_bit_by_bit(trigger: Trigger, more: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "label_1.npz"
        save_trigger(path, trigger, history=more, note="words")
        again, rest = load_trigger(path)
        assert [entry.name for entry in path.parent.iterdir()] == ["label_1.npz"]
    assert (again.label, again.l1_norm) == (trigger.label, trigger.l1_norm)
    assert again.mask.dtype == again.pattern.dtype == np.float32
    np.testing.assert_array_equal(again.mask, trigger.mask)
    np.testing.assert_array_equal(again.pattern, trigger.pattern)
    assert set(rest) == {"history", "note"}
    np.testing.assert_array_equal(rest["history"], more)


def test_whole_numbers_of_others_are_read_as_float32(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", mask=np.eye(2, dtype=np.uint8), pattern=np.full((2, 2, 3), 7), label=np.int8(3))
    trigger, rest = load_trigger(tmp_path / "t.npz")
    assert (trigger.label, rest, trigger.mask.dtype, trigger.pattern.dtype) == (3, {}, np.float32, np.float32)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz is missing: expected a trigger file; check the path"):
        load_trigger(tmp_path / "none.npz")


def damaged(folder: Path) -> dict[str, Path]:
    """Files that are no triggers, by what is wrong with them."""
    whole, mask, pattern = folder / "whole.npz", np.zeros((2, 2)), np.zeros((2, 2, 3))
    save_trigger(whole, corner_trigger())
    paths = {name: folder / f"{name}.npz" for name in ("truncated", "empty", "text", "no label", "pickle", "two labels", "folder")}
    paths["truncated"].write_bytes(whole.read_bytes()[:200])
    paths["empty"].touch()
    paths["text"].write_text("a trigger, honestly")
    np.savez(paths["no label"], mask=mask, pattern=pattern)
    np.savez(paths["pickle"], mask=np.array([{}], object), pattern=pattern, label=1)
    np.savez(paths["two labels"], mask=mask, pattern=pattern, label=[1, 2])
    paths["folder"].mkdir()
    return paths


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "no label", "pickle", "two labels", "folder"])
def test_a_broken_file(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match=rf"{kind}\.npz cannot be read .*: expected an \.npz with mask, pattern and label") as caught:
        load_trigger(damaged(tmp_path)[kind])
    assert "unsafe" not in str(caught.value), "advice to unpickle what a stranger wrote"


def test_a_single_array_is_no_trigger(tmp_path: Path) -> None:
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match=r"cannot be read"):
        load_trigger(tmp_path / "array.npz")


@pytest.mark.parametrize(
    ("mask", "pattern"),
    [
        (np.zeros((2, 2, 1)), np.zeros((2, 2, 3))),
        (np.zeros((2, 2)), np.zeros((2, 2))),
        (np.zeros((2, 2)), np.zeros((2, 3, 3))),
        (np.full((2, 2), np.nan), np.zeros((2, 2, 3))),
        (np.zeros((2, 2)), np.full((2, 2, 3), np.inf)),
    ],
)
def test_shapes_and_values_that_do_not_fit(tmp_path: Path, mask: np.ndarray, pattern: np.ndarray) -> None:
    np.savez(tmp_path / "t.npz", mask=mask, pattern=pattern, label=1)
    with pytest.raises(InputError, match=r"holds a mask .* and a pattern .*: expected finite \(H, W\) and \(H, W, C\)"):
        load_trigger(tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("mask", "pattern", "message"),
    [
        (np.full((2, 2), 255.0), np.zeros((2, 2, 3)), r"a mask from 255 to 255 and a pattern from 0 to 0: expected \[0, 1\] and raw"),
        (np.full((2, 2), -0.1), np.zeros((2, 2, 3)), "a mask from -0.1 to -0.1"),
        (np.zeros((2, 2)), np.full((2, 2, 3), 510), "a pattern from 510 to 510"),
        (np.zeros((2, 2)), np.full((2, 2, 3), -1), "a pattern from -1 to -1"),
    ],
)
def test_another_range_is_refused(tmp_path: Path, mask: np.ndarray, pattern: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "t.npz", mask=mask, pattern=pattern, label=1)
    with pytest.raises(InputError, match=message):
        load_trigger(tmp_path / "t.npz")
