"""The two-layer network, its training and its data: numpy only, no HTTP, no database."""

from model.functions import cross_entropy_error, sigmoid, softmax
from model.gradient import numerical_gradient
from model.layers import Affine, Relu, Sigmoid, SoftmaxWithLoss
from model.optimizer import SGD, AdaGrad, Adam, Momentum
from model.two_layer_net import TwoLayerNet

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "Affine",
    "Momentum",
    "Relu",
    "Sigmoid",
    "SoftmaxWithLoss",
    "TwoLayerNet",
    "cross_entropy_error",
    "numerical_gradient",
    "sigmoid",
    "softmax",
]
