"""What somebody does who has the book open, held against the formulas written out in tests/oracle.py."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import (
    SGD,
    Affine,
    Relu,
    Sigmoid,
    SoftmaxWithLoss,
    TwoLayerNet,
    cross_entropy_error,
    numerical_gradient,
    sigmoid,
    softmax,
    weights_file,
)
from model.datasets import load_dataset
from model.optimizer import OPTIMIZERS
from model.training import as_input
from model.two_layer_net import Activation
from model.types import Parameters
from model.weights_file import Weights
from tests import oracle

RANDOM = np.random.default_rng(5)
X, T = RANDOM.random((6, 12)), RANDOM.integers(0, 4, 6)


def network_of(activation: Activation = "relu") -> TwoLayerNet:
    return TwoLayerNet(12, 7, 4, "xavier", activation=activation, seed=3)


def by_the_layers(network: TwoLayerNet, x: np.ndarray, t: Any) -> tuple[float, Parameters]:
    """Loss and gradient, forward and back through the layers by hand."""
    out = x
    for layer in network.layers.values():
        out = layer.forward(out)
    loss = network.lastLayer.forward(out, t)
    dout = network.lastLayer.backward(1)
    for layer in reversed(list(network.layers.values())):
        dout = layer.backward(dout)
    affine1: Any = network.layers["Affine1"]
    affine2: Any = network.layers["Affine2"]
    assert dout.shape == x.shape
    return loss, {"W1": affine1.dW, "b1": affine1.db, "W2": affine2.dW, "b2": affine2.db}


def agree(network: TwoLayerNet, t: Any = T) -> None:
    loss, gradient = by_the_layers(network, X, t)
    expected_loss, expected = oracle.loss_and_gradient(network.params, X, T.tolist(), network.activation)  # type: ignore[arg-type]
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    for name, array in network.gradient(X, t).items():
        assert (gradient[name] == array).all()
        assert array == pytest.approx(expected[name], rel=1e-10, abs=1e-14)


@pytest.mark.parametrize(("activation", "name"), [("relu", "Relu1"), ("sigmoid", "Sigmoid1")])
def test_the_layers_have_the_book_s_names_and_order(activation: Activation, name: str) -> None:
    network = network_of(activation)
    assert isinstance(network.layers, OrderedDict)
    assert list(network.layers) == ["Affine1", name, "Affine2"]
    assert isinstance(network.lastLayer, SoftmaxWithLoss)
    assert type(network.layers[name]).__name__ == name[:-1]
    assert all(isinstance(network.layers[affine], Affine) for affine in ("Affine1", "Affine2"))


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("t", [T, T.tolist(), np.eye(4)[T]], ids=["class numbers", "a list of them", "one-hot"])
def test_the_loop_through_the_layers_gives_the_gradient_of_the_network(activation: Activation, t: Any) -> None:
    agree(network_of(activation), t)


def test_the_mask_is_where_x_is_not_positive() -> None:
    network = network_of()
    by_the_layers(network, X, T)
    relu: Any = network.layers["Relu1"]
    assert (relu.mask == (X @ network.params["W1"] + network.params["b1"] <= 0)).all()
    layer = Relu()
    layer.forward(np.array([-1.0, 0.0, 2.0]))
    assert layer.mask is not None
    assert layer.mask.tolist() == [True, True, False]


def test_layers_that_are_held_follow_whatever_happens_to_the_parameters() -> None:
    network = network_of()
    layers, affine1 = network.layers, network.layers["Affine1"]
    for key in ("W1", "b1", "W2", "b2"):
        network.params[key] -= 0.1 * network.gradient(X, T)[key]
    agree(network)
    network.params["W1"] = RANDOM.standard_normal((12, 7))
    agree(network)
    network.params = network_of("sigmoid").params
    agree(network)
    assert isinstance(affine1, Affine)
    affine1.W = affine1.W - 0.1
    affine1.b += 1
    agree(network)
    assert affine1.W is network.params["W1"]
    assert network.layers is layers


def test_the_network_s_own_calls_leave_the_layers_alone() -> None:
    network = network_of()
    _, gradient = by_the_layers(network, X, T)
    network.predict(X[:2])
    network.gradient(X[:2], T[:2])
    affine1: Any = network.layers["Affine1"]
    assert affine1.dW is gradient["W1"]
    assert affine1.x is X


@pytest.mark.parametrize("layer", [Relu(), Sigmoid(), Affine(np.ones((4, 4)), np.ones(4))])
def test_backward_before_forward_is_said(layer: Relu | Sigmoid | Affine) -> None:
    with pytest.raises(RuntimeError, match="backward before forward"):
        layer.backward(np.ones((1, 4)))
    with pytest.raises(RuntimeError, match="backward before forward"):
        network_of().lastLayer.backward(1)


@pytest.mark.parametrize("make", OPTIMIZERS.values())
def test_every_optimiser_makes_the_loss_smaller(make: type[SGD]) -> None:
    network, optimiser = network_of(), make(0.1)
    before = network.loss(X, T)
    for _ in range(5):
        optimiser.update(network.params, network.gradient(X, T))
    assert network.loss(X, T) < before


NETWORK = network_of()
TAKES_LABELS: list[Callable[[Any], Any]] = [
    lambda t: NETWORK.loss(X, t),
    lambda t: NETWORK.accuracy(X, t),
    lambda t: NETWORK.gradient(X, t),
    lambda t: NETWORK.numerical_gradient(X, t),
    lambda t: NETWORK.lastLayer.forward(NETWORK.predict(X), t),
    lambda t: cross_entropy_error(softmax(NETWORK.predict(X)), t),
]


@pytest.mark.parametrize("call", TAKES_LABELS)
@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([0, 1, 2, 3, -1, 0], r"t\[4\] is -1: expected a class number, 0…3"),
        ([0, 1, 2, 3, 0, 4], r"t\[5\] is 4: expected a class number, 0…3"),
        ([0, 1, 2, 3, 0, 1.5], "not whole"),
        ([0, 1, 2], r"t has shape \(3,\): expected \(6,\) class numbers or \(6, 4\) one-hot rows, for 6 images"),
        (np.eye(4)[[0, 1, 2]], r"t has shape \(3, 4\): expected \(6,\) class numbers"),
        (np.eye(5)[[0, 1, 2, 3, 0, 1]], "rows of 5: expected one-hot rows of 4"),
        (np.zeros((6, 4)), r"t\[0\] is not one-hot"),
        (list("abcdef"), "t holds <U1: expected numbers"),
    ],
    ids=["-1", "k", "fraction", "too few", "too few rows", "other classes", "zeros", "text"],
)
def test_labels_that_can_t_be_are_said(call: Callable[[Any], Any], t: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call(t)


@pytest.mark.parametrize(
    "call",
    [
        NETWORK.predict,
        lambda x: NETWORK.loss(x, T),
        lambda x: NETWORK.accuracy(x, T),
        lambda x: NETWORK.gradient(x, T),
        lambda x: NETWORK.numerical_gradient(x, T),
        *[layer.forward for layer in NETWORK.layers.values()],
        lambda x: NETWORK.lastLayer.forward(x, T),
        softmax,
        sigmoid,
        lambda x: cross_entropy_error(x, T),
        lambda x: numerical_gradient(lambda _: 0.0, x),
        lambda dout: by_the_layers(NETWORK, X, T) and NETWORK.layers["Affine1"].backward(dout),
        lambda dout: by_the_layers(NETWORK, X, T) and NETWORK.layers["Relu1"].backward(dout),
    ],
)
def test_a_list_where_an_array_belongs_is_said(call: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"is a list: expected a numpy array, such as np.array"):
        call(X.tolist())


@pytest.mark.parametrize("call", [NETWORK.predict, lambda x: NETWORK.gradient(x, T), NETWORK.layers["Affine1"].forward])
@pytest.mark.parametrize("shape", [(6, 11), (11,), (2, 6, 12), ()], ids=str)
def test_images_that_do_not_fit_are_said(call: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x has shape .*: expected \(n, 12\), n rows of 12 numbers"):
        call(np.zeros(shape))


def test_a_batch_without_images_has_no_loss() -> None:
    with pytest.raises(ValueError, match=r"x has shape \(0, 4\)"):
        NETWORK.gradient(X[:0], T[:0])
    assert NETWORK.predict(X[:0]).shape == (0, 4)


def test_the_packaged_digits_are_learnt_and_saved_in_a_few_lines(tmp_path: Path) -> None:
    digits = load_dataset("digits")
    x, t = as_input(digits.train)
    network = TwoLayerNet(input_size=784, hidden_size=50, output_size=10, seed=0)
    for first in range(0, len(x) - 100, 100):
        gradient = network.gradient(x[first : first + 100], t[first : first + 100])
        for key in ("W1", "b1", "W2", "b2"):
            network.params[key] -= 0.1 * gradient[key]
    x_test, t_test = as_input(digits.test)
    weights_file.save(tmp_path / "weights.npz", Weights(network.params))
    saved = weights_file.load(tmp_path / "weights.npz").network()
    assert saved.accuracy(x_test, t_test) == pytest.approx(network.accuracy(x_test, t_test), abs=0.002)
