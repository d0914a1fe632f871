"""Files of finished searches: a lossless trigger of a label, of all classes, or of the whole image, and its measurements."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nc_tf.errors import InputError
from nc_tf.results import HISTORY_COLUMNS, ChangeResult, LabelResult, SourceResult, Status, Trigger, UntargetedResult, Warp
from nc_tf.storage.files import plain
from nc_tf.storage.saved_numbers import MOST_SECONDS, history_of, real_number, whole_number
from nc_tf.storage.trigger_file import load_all_to_all, load_change, load_trigger, save_trigger

# Length of a warp, pixels. It may be longer than the image: 480 updates of .05 move a point of its grid by 24 pixels.
LONGEST = 1000.0


def save_label(file: Path, result: LabelResult, history: np.ndarray, seconds: float) -> None:
    """Write a finished label.

    Args:
        file: where.
        result: what was found and measured.
        history: (rounds, 7) of its best restart, columns `HISTORY_COLUMNS`.
        seconds: time that the scan has taken by now.
    """
    save_trigger(
        file,
        result.trigger,
        status=str(result.status),
        attack_success_rate=result.attack_success_rate,
        zero_trigger_rate=result.zero_trigger_rate,
        starts=result.starts,
        rounds=result.rounds,
        **({} if result.num_measured is None else {"num_measured": result.num_measured}),
        broke_down=result.broke_down,
        by_patch=result.by_patch,
        history=history,
        history_columns=HISTORY_COLUMNS,
        seconds=seconds,
    )


def load_label(file: Path) -> tuple[LabelResult, float]:
    """Return a finished label, and the seconds of the scan then.

    Raises:
        InputError: the file cannot be read, or holds no result of a scan.
    """
    trigger, saved = load_trigger(plain(file))
    try:
        return _result_of(trigger, saved), real_number(saved.get("seconds", np.zeros(())), most=MOST_SECONDS)
    except (ValueError, KeyError) as error:
        raise InputError(f"{file} is no result of a scan ({error}): expected status, rates and rounds; delete it and scan again") from error


def _result_of(trigger: Trigger, saved: Mapping[str, np.ndarray]) -> LabelResult:
    """Return what was saved with a trigger.

    Raises:
        ValueError, KeyError: it is no result of a scan.
    """
    result = LabelResult(
        trigger=trigger,
        status=Status(str(saved["status"])),
        attack_success_rate=real_number(saved["attack_success_rate"], most=1.0, nan=True),
        zero_trigger_rate=real_number(saved["zero_trigger_rate"], most=1.0, nan=True),
        starts=whole_number(saved["starts"]),
        rounds=whole_number(saved["rounds"]),
        num_measured=whole_number(saved["num_measured"]) if "num_measured" in saved else None,
        **{name: bool(whole_number(saved[name])) for name in ("broke_down", "by_patch") if name in saved},
    )
    if "history" in saved and len(history_of(saved["history"])) > result.rounds:
        raise ValueError(f"a history of {len(saved['history'])} rounds, where {result.rounds} were run")
    return result


def save_untargeted(file: Path, result: UntargetedResult, seconds: float) -> None:
    """Write the result of the untargeted search.

    Args:
        file: where.
        result: what was found and measured.
        seconds: time that the scan has taken by now.
    """
    names = ("labels", "answers", "starts", "rounds")
    arrays = {name: getattr(result, name) for name in names}
    save_trigger(file, result.trigger, status=str(result.status), seconds=seconds, **arrays)


def load_untargeted(file: Path) -> tuple[UntargetedResult, float]:
    """Return the result of the untargeted search, and the seconds of the scan then.

    Raises:
        InputError: the file cannot be read, or holds no such result.
    """
    trigger, saved = load_all_to_all(plain(file))
    try:
        labels, answers = saved["labels"], saved["answers"]
        whole = all(part.dtype.kind in "iu" and part.ndim == 1 and (part < len(trigger.targets)).all() for part in (labels, answers))
        if not whole or len(labels) != len(answers) or (labels < 0).any():
            raise ValueError(f"labels {labels.shape} and answers {answers.shape}, where as many classes of the model are expected")
        result = UntargetedResult(
            trigger=trigger,
            status=Status(str(saved["status"])),
            labels=labels.astype(np.int64),
            answers=answers.astype(np.int64),
            starts=whole_number(saved["starts"]),
            rounds=whole_number(saved["rounds"]),
        )
        return result, real_number(saved["seconds"], most=MOST_SECONDS)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{file} is no result of a scan ({error}): expected status, rates and answers; delete it and scan again"
        ) from error


def save_source(file: Path, result: SourceResult, seconds: float) -> None:
    """Write the smallest trigger of one class alone.

    Args:
        file: where.
        result: what was found and measured.
        seconds: time that the scan has taken by now.
    """
    names = ("source", "attack_success_rate", "kept_rate", "num_measured", "starts", "rounds", "norm_after", "left_rate")
    arrays = {name: getattr(result, name) for name in names}
    save_trigger(file, result.trigger, status=str(result.status), again=str(result.again or ""), seconds=seconds, **arrays)


def load_source(file: Path) -> tuple[SourceResult, float]:
    """Return the smallest trigger of one class alone, and the seconds of the scan then.

    Raises:
        InputError: the file cannot be read, or holds no such result.
    """
    trigger, saved = load_all_to_all(plain(file))
    try:
        source, again = whole_number(saved["source"]), str(saved["again"])
        if file.name != f"source-{source}.npz" or any(pair[0] != source for pair in trigger.pairs):
            raise ValueError(f"a trigger of class {source}, where another is expected by the file's name")
        result = SourceResult(
            source=source,
            trigger=trigger,
            status=Status(str(saved["status"])),
            attack_success_rate=real_number(saved["attack_success_rate"], most=1.0, nan=True),
            kept_rate=real_number(saved["kept_rate"], most=1.0, nan=True),
            **{name: whole_number(saved[name]) for name in ("num_measured", "starts", "rounds")},
            again=Status(again) if again else None,
            norm_after=real_number(saved["norm_after"], most=trigger.mask.size, nan=True),
            left_rate=real_number(saved["left_rate"], most=1.0, nan=True),
        )
        return result, real_number(saved["seconds"], most=MOST_SECONDS)
    except (ValueError, KeyError) as error:
        raise InputError(f"{file} is no result of a scan ({error}): expected rates and norms; delete it and scan again") from error


def save_change(file: Path, result: ChangeResult, seconds: float) -> None:
    """Write a label's smallest change of the whole image.

    Args:
        file: where.
        result: what was found and measured.
        seconds: time that the scan has taken by now.
    """
    save_trigger(
        file,
        result.trigger,
        detector=result.detector,
        size=result.size,
        status=str(result.status),
        attack_success_rate=result.attack_success_rate,
        zero_trigger_rate=result.zero_trigger_rate,
        num_measured=result.num_measured,
        seconds=seconds,
    )


def load_saved_change(file: Path) -> tuple[ChangeResult, float]:
    """Return a label's smallest change of the whole image, and the seconds of the scan then.

    Raises:
        InputError: the file cannot be read, or holds no such result.
    """
    trigger, saved = load_change(plain(file))
    try:
        detector = str(saved["detector"])
        if (detector == "warp") != isinstance(trigger, Warp) or f"{detector}-{trigger.label}.npz" != file.name:
            raise ValueError(f"a {detector[:20]!r} of label {trigger.label}, where another is expected by the file's name")
        size = real_number(saved["size"], most=LONGEST if isinstance(trigger, Warp) else 1.0)
        if isinstance(trigger, Trigger) and not math.isclose(size, trigger.mask.mean(), rel_tol=1e-3, abs_tol=1e-6):
            raise ValueError(f"an opacity of {size:g}, where that of its mask is {trigger.mask.mean():g}")
        result = ChangeResult(
            detector=detector,
            trigger=trigger,
            size=size,
            status=Status(str(saved["status"])),
            attack_success_rate=real_number(saved["attack_success_rate"], most=1.0, nan=True),
            zero_trigger_rate=real_number(saved["zero_trigger_rate"], most=1.0, nan=True),
            num_measured=whole_number(saved["num_measured"]),
        )
        return result, real_number(saved["seconds"], most=MOST_SECONDS)
    except (ValueError, KeyError) as error:
        raise InputError(f"{file} is no result of a scan ({error}): expected size, status and rates; delete it and scan again") from error
