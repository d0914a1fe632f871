"""Label orders: the relation between the class numbers of the data and the outputs of the model."""

from collections.abc import Callable

import numpy as np

from nc_tf.errors import InputError


def _number(labels: np.ndarray, num_classes: int) -> np.ndarray:
    del num_classes
    return labels


def _number_from_1(labels: np.ndarray, num_classes: int) -> np.ndarray:
    del num_classes
    return labels - 1


def _text(labels: np.ndarray, num_classes: int, first: int = 0) -> np.ndarray:
    """Return the place of each number among all numbers sorted as text.

    Keras sorts folders by their names as text, so that "10" comes before "2".
    """
    names = np.arange(first, first + num_classes)
    output = np.full(first + num_classes, -1)
    output[names[np.argsort(names.astype(str), kind="stable")]] = np.arange(num_classes)
    in_range = (labels >= first) & (labels < first + num_classes)
    return np.where(in_range, output[np.where(in_range, labels, first)], -1)


def _text_from_1(labels: np.ndarray, num_classes: int) -> np.ndarray:
    return _text(labels, num_classes, first=1)


# (class numbers (N,), number of classes) -> outputs of the model (N,); below 0 or too large where a number has none.
LABEL_ORDERS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "number": _number,
    "number-from-1": _number_from_1,
    "text": _text,
    "text-from-1": _text_from_1,
}


def counts_from_1(labels: np.ndarray, num_classes: int) -> bool:
    """Tell whether class numbers are counted from 1.

    They run from 1 to K then, and cannot be the outputs 0 to K - 1.
    """
    return bool(len(labels)) and int(labels.min()) >= 1 and int(labels.max()) == num_classes


def reorder(labels: np.ndarray, order: str, num_classes: int, name: str = "labels") -> np.ndarray:
    """Return the outputs of the model for the data's class numbers.

    Args:
        labels: (N,) int64, class numbers of the data.
        order: one of `LABEL_ORDERS`: "number", the class number is the output; "text", the output is the place of the number among all,
            sorted as text; each also for numbers from 1.
        num_classes: K, the number of outputs of the model.
        name: the name of the labels in messages.

    Returns:
        (N,) int64 in [0, K).

    Raises:
        InputError: an order of another name, or a label that has no output in this order.
    """
    if order not in LABEL_ORDERS:
        raise InputError(f"label order {order!r}: expected one of {', '.join(LABEL_ORDERS)}; choose one")
    outputs = LABEL_ORDERS[order](labels, num_classes)
    wrong = (outputs < 0) | (outputs >= num_classes)
    if wrong.any():
        first = int(order.endswith("from-1"))
        raise InputError(
            f"{name}: label {labels[np.argmax(wrong)]} with the label order {order}: expected labels from {first} to "
            f"{first + num_classes - 1}, the classes of the model; choose another order, or the data the model was trained on"
        )
    return outputs.astype(np.int64)
