"""The network: Affine, an activation, Affine, with the cross-entropy of its softmax as the loss."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from model.functions import check_array, class_numbers
from model.gradient import numerical_gradient
from model.layers import Affine, Relu, Sigmoid, SoftmaxWithLoss
from model.types import PARAMETER_NAMES, FloatArray, Parameters

Activation = Literal["relu", "sigmoid"]
WeightInit = Literal["he", "xavier"]

ACTIVATIONS: dict[str, type[Relu] | type[Sigmoid]] = {"relu": Relu, "sigmoid": Sigmoid}


@dataclass(frozen=True)
class Backpropagation:
    """The result of one pass forward and back: logits (n, k), mean loss and gradient."""

    logits: FloatArray
    loss: float
    gradient: Parameters


class TwoLayerNet:
    """A network of two affine layers that classifies into k classes.

    `params` holds W1 (input × hidden), b1 (hidden), W2 (hidden × output), b2 (output). Every call reads it anew and
    makes its own layers, so an assignment to `params`, whole or by name, takes effect immediately, and any number of
    threads may predict while another trains. If a thread assigns `params` as a whole, others see all of it or nothing.

    `layers` and `lastLayer` are the book's, for going forward and back by hand. They keep the last input, so they are
    for one thread; no method of the network uses them.

    Raises TypeError for images that are not an array, and ValueError for images and labels of the wrong shape.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        weight_init_std: float | WeightInit = 0.01,
        *,
        activation: Activation = "relu",
        seed: int | None = None,
        dtype: DTypeLike = np.float64,
    ) -> None:
        """Biases are zero. Weights are drawn from a normal distribution with the standard deviation `weight_init_std`;
        "he": sqrt(2 / inputs of the layer) (He et al. 2015, for ReLU); "xavier": sqrt(1 / inputs of the layer)
        (Glorot and Bengio 2010, simplified, for sigmoid).

        Raises ValueError for an unknown activation or initialisation.
        """
        check_activation(activation)
        random = np.random.default_rng(seed)

        def draw(inputs: int, outputs: int) -> FloatArray:
            deviation = weight_deviation(weight_init_std, inputs)
            return (deviation * random.standard_normal((inputs, outputs))).astype(dtype)

        self.activation: Activation = activation
        self.params: Parameters = {
            "W1": draw(input_size, hidden_size),
            "b1": np.zeros(hidden_size, dtype),
            "W2": draw(hidden_size, output_size),
            "b2": np.zeros(output_size, dtype),
        }

    @classmethod
    def from_params(cls, params: Parameters, activation: Activation = "relu") -> "TwoLayerNet":
        """A network with these parameters, which are not copied."""
        check_activation(activation)
        network = cls.__new__(cls)
        network.activation = activation
        network.params = params
        return network

    @cached_property
    def layers(self) -> "OrderedDict[str, Affine | Relu | Sigmoid]":
        """Affine1, Relu1 or Sigmoid1, Affine2, in the order of `forward`. They always use the current `params`."""
        activation = ACTIVATIONS[self.activation]
        return OrderedDict(
            {
                "Affine1": NetworkAffine(self, 1),
                f"{activation.__name__}1": activation(),
                "Affine2": NetworkAffine(self, 2),
            }
        )

    @cached_property
    def lastLayer(self) -> SoftmaxWithLoss:  # noqa: N802  the book's name
        """The last layer: `forward` returns the loss, `backward` starts backpropagation."""
        return SoftmaxWithLoss()

    def _layers_of_one_call(self) -> tuple[Affine, Relu | Sigmoid, Affine]:
        """New layers with the current parameters."""
        params = self.params
        return (
            Affine(params["W1"], params["b1"]),
            ACTIVATIONS[self.activation](),
            Affine(params["W2"], params["b2"]),
        )

    def predict(self, x: FloatArray) -> FloatArray:
        """Logits, (n, output), or (output,) for one image. x: (n, input) or (input,)."""
        for layer in self._layers_of_one_call():
            x = layer.forward(x)
        return x

    def loss(self, x: FloatArray, t: ArrayLike) -> float:
        """The mean cross-entropy error. x: (n, input); t: class numbers (n,) or one-hot (n, output)."""
        images, labels = as_batch(x, t)
        return SoftmaxWithLoss().forward(self.predict(images), labels)

    def accuracy(self, x: FloatArray, t: ArrayLike) -> float:
        """The share of images whose largest logit is that of their true class."""
        images, labels = as_batch(x, t)
        return accuracy_of(self.predict(images), labels)

    def gradient(self, x: FloatArray, t: ArrayLike) -> Parameters:
        """The gradient of `loss` with respect to every parameter, by backpropagation."""
        return self.backpropagate(x, t).gradient

    def backpropagate(self, x: FloatArray, t: ArrayLike) -> Backpropagation:
        """`predict`, `loss` and `gradient` from one pass."""
        images, labels = as_batch(x, t)
        affine1, activation, affine2 = self._layers_of_one_call()
        last_layer = SoftmaxWithLoss()

        logits = affine2.forward(activation.forward(affine1.forward(images)))
        loss = last_layer.forward(logits, labels)
        affine1.backward_parameters(activation.backward(affine2.backward(last_layer.backward())))

        gradient = {"W1": affine1.dW, "b1": affine1.db, "W2": affine2.dW, "b2": affine2.db}
        return Backpropagation(logits, loss, gradient)

    def numerical_gradient(self, x: FloatArray, t: ArrayLike) -> Parameters:
        """The gradient of `loss` by finite differences, computed in float64 whatever the network's own dtype."""
        params: Parameters = {name: self.params[name].astype(np.float64) for name in PARAMETER_NAMES}
        network = TwoLayerNet.from_params(params, self.activation)
        check_array(x)
        images = x.astype(np.float64)
        return {name: numerical_gradient(lambda _: network.loss(images, t), params[name]) for name in PARAMETER_NAMES}


class NetworkAffine(Affine):
    """An affine layer whose W and b are always those in the `params` of its network."""

    def __init__(self, network: TwoLayerNet, number: int) -> None:
        self._network = network
        self._names = f"W{number}", f"b{number}"
        self.x = None

    @property
    def W(self) -> FloatArray:  # noqa: N802
        return self._network.params[self._names[0]]

    @W.setter
    def W(self, array: FloatArray) -> None:  # noqa: N802
        self._network.params[self._names[0]] = array

    @property
    def b(self) -> FloatArray:
        return self._network.params[self._names[1]]

    @b.setter
    def b(self, array: FloatArray) -> None:
        self._network.params[self._names[1]] = array


def as_batch(x: FloatArray, t: ArrayLike) -> tuple[FloatArray, ArrayLike]:
    """Images and labels with a batch axis; one image is a batch of one."""
    check_array(x)
    return (x[np.newaxis], np.asarray(t)[np.newaxis]) if x.ndim == 1 else (x, t)


def accuracy_of(logits: FloatArray, t: ArrayLike) -> float:
    """The share of rows whose largest logit is that of their true class. logits: (n, k)."""
    return float((logits.argmax(axis=1) == class_numbers(t, *logits.shape)).mean())


def weight_deviation(weight_init_std: float | WeightInit, inputs: int) -> float:
    """The standard deviation of the initial weights of a layer with that number of inputs."""
    if weight_init_std == "he":
        return float(np.sqrt(2 / inputs))
    if weight_init_std == "xavier":
        return float(np.sqrt(1 / inputs))
    if isinstance(weight_init_std, str):
        expected = ", ".join(get_args(WeightInit))
        raise ValueError(f"weight_init_std is {weight_init_std!r}: expected a number or one of {expected}")
    return weight_init_std


def check_activation(activation: str) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}: expected one of {', '.join(ACTIVATIONS)}")
