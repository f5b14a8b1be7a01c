"""The functions that the layers are made of, written so that no finite input overflows."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.types import FloatArray, IntArray


def sigmoid(x: FloatArray) -> FloatArray:
    """The logistic function 1 / (1 + exp(-x)), elementwise.

    For negative x it is computed as exp(x) / (1 + exp(x)): no exponent is ever positive.
    """
    z = np.exp(-np.abs(x))
    y: FloatArray = np.where(x >= 0, 1, z) / (1 + z)
    return y


def softmax(x: FloatArray) -> FloatArray:
    """Probabilities from logits: exp(x) / sum(exp(x)) over the last axis.

    x: (k,) or (n, k). Subtracting the largest logit of a row changes nothing in exact arithmetic and keeps every
    exponent at or below zero.
    """
    exponential = np.exp(x - x.max(axis=-1, keepdims=True))
    probabilities: FloatArray = exponential / exponential.sum(axis=-1, keepdims=True)
    return probabilities


def class_numbers(t: ArrayLike) -> IntArray:
    """Labels as class numbers, shape (n,), whether they came as such or as one-hot rows (n, k)."""
    labels: NDArray[Any] = np.asarray(t)
    if labels.ndim == 2:
        labels = labels.argmax(axis=1)
    numbers: IntArray = np.atleast_1d(labels).astype(np.intp, copy=False)
    return numbers


def cross_entropy_error(y: FloatArray, t: ArrayLike) -> float:
    """The mean over the batch of -log(probability given to the true class).

    y: probabilities, (n, k) or (k,); t: class numbers, (n,) or one number, or one-hot, of the shape of y.
    A probability of zero counts as the smallest normal number of its type: the error stays finite, and adding a
    constant inside the logarithm, which would bias every error, is not needed.
    """
    probabilities = np.atleast_2d(y)
    labels = class_numbers(np.atleast_2d(t) if np.ndim(t) == np.ndim(y) else t)
    of_true_class = probabilities[np.arange(len(probabilities)), labels]
    return float(-np.log(np.maximum(of_true_class, np.finfo(of_true_class.dtype).tiny)).mean())


def confusion_matrix(predicted: IntArray, t: IntArray, classes: int) -> IntArray:
    """A row for each true class, a column for each predicted one."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (t, predicted), 1)
    return matrix
