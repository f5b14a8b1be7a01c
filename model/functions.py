"""The functions of the layers, written so that no finite input overflows."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.types import FloatArray, IntArray


def sigmoid(x: FloatArray) -> FloatArray:
    """The logistic function 1 / (1 + exp(-x)), elementwise.

    For negative x it is computed as exp(x) / (1 + exp(x)), so that no exponent is positive.
    """
    check_array(x)
    z = np.exp(-np.abs(x))
    y: FloatArray = np.where(x >= 0, 1, z) / (1 + z)
    return y


def softmax(x: FloatArray) -> FloatArray:
    """Probabilities from logits: exp(x) / sum(exp(x)) over the last axis.

    x: (k,) or (n, k). Subtracting the largest logit of a row changes nothing in exact arithmetic and keeps every
    exponent at or below zero.
    """
    check_array(x)
    exponential = np.exp(x - x.max(axis=-1, keepdims=True))
    probabilities: FloatArray = exponential / exponential.sum(axis=-1, keepdims=True)
    return probabilities


def check_array(x: object, name: str = "x") -> None:
    """Raises TypeError for anything but an array, such as a list, which would fail later with an unclear message."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} is a {type(x).__name__}: expected a numpy array, such as np.array({name})")


def class_numbers(t: ArrayLike, count: int, classes: int) -> IntArray:
    """Labels of `count` images as class numbers, shape (n,). t: class numbers, or one-hot rows (n, k).

    Raises TypeError for labels that are not numbers; ValueError for a wrong count, for class numbers that are not whole
    or not in 0…k-1, and for rows that are not one-hot.
    """
    labels: NDArray[Any] = np.asarray(t)
    if labels.dtype.kind not in "iufb":
        raise TypeError(f"t holds {labels.dtype}: expected numbers")
    if labels.ndim == 2:
        labels = _numbers_of_rows(labels, classes)
    elif labels.ndim == 0:
        labels = labels[np.newaxis]
    if labels.shape != (count,):
        raise ValueError(
            f"t has shape {np.shape(t)}: expected ({count},) class numbers or ({count}, {classes}) one-hot rows, for "
            f"{count} images"
        )
    numbers: IntArray = labels.astype(np.intp, copy=False)
    if labels.dtype.kind == "f" and not (numbers == labels).all():
        raise ValueError("t holds numbers that are not whole: expected class numbers")
    # As unsigned, a negative number is a very large one: one comparison finds both kinds of mistake.
    if count and np.maximum.reduce(numbers.view(np.uintp)) >= classes:
        wrong = int(np.argmax(numbers.view(np.uintp) >= classes))
        raise ValueError(f"t[{wrong}] is {labels[wrong]}: expected a class number, 0…{classes - 1}")
    return numbers


def _numbers_of_rows(rows: NDArray[Any], classes: int) -> IntArray:
    if rows.shape[1] != classes:
        raise ValueError(f"t has rows of {rows.shape[1]}: expected one-hot rows of {classes}, or class numbers (n,)")
    not_one_hot = np.count_nonzero(rows, axis=1) != 1
    if not_one_hot.any():
        raise ValueError(f"t[{int(not_one_hot.argmax())}] is not one-hot: expected a single 1 among zeros")
    numbers: IntArray = rows.argmax(axis=1)
    return numbers


def cross_entropy_error(y: FloatArray, t: ArrayLike) -> float:
    """The mean over the batch of -log(probability given to the true class).

    y: probabilities, (n, k) or (k,); t: class numbers, (n,) or one number, or one-hot, of the shape of y.
    A probability of zero counts as the smallest normal number of its type: the error stays finite, without a constant
    inside the logarithm that would bias every error.

    Raises TypeError, and ValueError as `class_numbers` does.
    """
    check_array(y, "y")
    probabilities = np.atleast_2d(y)
    labels = class_numbers(np.atleast_2d(t) if np.ndim(t) == np.ndim(y) else t, *probabilities.shape)
    of_true_class = probabilities[np.arange(len(probabilities)), labels]
    return 0.0 - float(np.log(np.maximum(of_true_class, np.finfo(of_true_class.dtype).tiny)).mean())


def confusion_matrix(predicted: IntArray, t: IntArray, classes: int) -> IntArray:
    """One row per true class, one column per predicted class."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (t, predicted), 1)
    return matrix
