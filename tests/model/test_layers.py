"""The traps that the book's listing leaves open, each closed by a test."""

import numpy as np
import pytest

from model import Affine, Relu, Sigmoid, SoftmaxWithLoss

X = np.array([[-1.5, 0.0, 2.0], [3.0, -0.1, 0.0]])
DOUT = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


@pytest.mark.parametrize("layer", [Relu(), Sigmoid(), Affine(np.ones((3, 3)), np.ones(3))])
def test_no_layer_changes_its_arguments(layer: Relu | Sigmoid | Affine) -> None:
    x, dout = X.copy(), DOUT.copy()
    layer.forward(x)
    layer.backward(dout)
    assert (x == X).all()
    assert (dout == DOUT).all()


def test_relu_passes_what_is_positive_and_its_gradient_at_zero_is_zero() -> None:
    relu = Relu()
    assert relu.forward(X).tolist() == [[0, 0, 2], [3, 0, 0]]
    assert relu.backward(DOUT).tolist() == [[0, 0, 3], [4, 0, 0]]


def test_sigmoid_takes_large_negative_input() -> None:
    layer = Sigmoid()
    with np.errstate(over="raise", invalid="raise"):
        assert layer.forward(np.array([-1e4, 0.0, 1e4])).tolist() == [0, 0.5, 1]
        assert layer.backward(np.ones(3)).tolist() == [0, 0.25, 0]


def test_affine_gives_the_gradients_of_its_formula() -> None:
    random = np.random.default_rng(1)
    w, b, x, dout = random.random((3, 2)), random.random(2), random.random((4, 3)), random.random((4, 2))
    affine = Affine(w, b)
    assert affine.forward(x) == pytest.approx(np.array([[row @ w[:, j] + b[j] for j in range(2)] for row in x]))
    assert affine.backward(dout) == pytest.approx(np.array([[w[i] @ row for i in range(3)] for row in dout]))
    assert affine.dW == pytest.approx(sum(np.outer(row, d) for row, d in zip(x, dout, strict=True)))
    assert affine.db == pytest.approx(sum(dout))


@pytest.mark.parametrize("t", [[2, 0], np.eye(3)[[2, 0]]], ids=["class numbers", "one-hot"])
def test_softmax_with_loss_takes_both_kinds_of_label_and_respects_dout(t: np.ndarray) -> None:
    layer = SoftmaxWithLoss()
    loss = layer.forward(X, t)
    y = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
    assert loss == pytest.approx(-(np.log(y[0, 2]) + np.log(y[1, 0])) / 2)
    assert layer.backward() == pytest.approx((y - np.eye(3)[[2, 0]]) / 2)
    assert layer.backward(3.0) == pytest.approx(3 * (y - np.eye(3)[[2, 0]]) / 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_with_loss_of_huge_logits_is_exact(dtype: type) -> None:
    layer = SoftmaxWithLoss()
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert layer.forward(np.array([[1e4, -1e4]], dtype), [1]) == 2e4
        assert layer.backward().tolist() == [[1, -1]]
