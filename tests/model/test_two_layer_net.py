import threading

import numpy as np
import pytest

from model import TwoLayerNet
from model.gradient import relative_errors
from model.optimizer import SGD
from model.two_layer_net import Activation
from tests import oracle

ACTIVATIONS: list[Activation] = ["relu", "sigmoid"]


@pytest.fixture(params=ACTIVATIONS)
def network(request: pytest.FixtureRequest) -> TwoLayerNet:
    return TwoLayerNet(12, 7, 4, "xavier", activation=request.param, seed=3)


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    return random.random((6, 12)), random.integers(0, 4, 6)


@pytest.mark.parametrize("one_hot", [False, True], ids=["class numbers", "one-hot"])
def test_gradient_agrees_with_finite_differences(
    network: TwoLayerNet, batch: tuple[np.ndarray, np.ndarray], one_hot: bool
) -> None:
    x, t = batch
    labels = np.eye(4)[t] if one_hot else t
    errors = relative_errors(network.gradient(x, labels), network.numerical_gradient(x, labels))
    assert max(errors.values()) < 1e-7, errors


def test_loss_and_gradient_agree_with_the_oracle(network: TwoLayerNet, batch: tuple[np.ndarray, np.ndarray]) -> None:
    x, t = batch
    loss, gradient = oracle.loss_and_gradient(network.params, x, t.tolist(), network.activation)  # type: ignore[arg-type]
    assert network.loss(x, t) == pytest.approx(loss, rel=1e-12)
    errors = relative_errors(network.gradient(x, t), gradient)  # type: ignore[arg-type]
    assert max(errors.values()) < 1e-12, errors


def test_the_book_s_calls_work_and_float64_is_what_they_give() -> None:
    network = TwoLayerNet(input_size=784, hidden_size=50, output_size=10)
    x, t = np.random.default_rng(0).random((3, 784)), np.array([1, 2, 3])
    assert {name: array.shape for name, array in network.params.items()} == {
        "W1": (784, 50),
        "b1": (50,),
        "W2": (50, 10),
        "b2": (10,),
    }
    assert network.predict(x).shape == (3, 10)
    assert network.gradient(x, t)["W1"].dtype == np.float64
    for name, array in network.gradient(x, t).items():
        network.params[name] -= 0.1 * array
    assert 0 <= network.accuracy(x, t) <= 1


def test_an_assignment_to_a_parameter_takes_effect(batch: tuple[np.ndarray, np.ndarray]) -> None:
    x, _ = batch
    network = TwoLayerNet(12, 7, 4, seed=0)
    network.params["W2"] = np.zeros((7, 4))
    network.params["b2"] = np.arange(4.0)
    assert network.predict(x).tolist() == [[0, 1, 2, 3]] * 6


def test_one_image_is_a_batch_of_one(network: TwoLayerNet, batch: tuple[np.ndarray, np.ndarray]) -> None:
    x, t = batch
    assert network.predict(x[0]) == pytest.approx(network.predict(x[:1])[0])
    assert network.loss(x[0], t[0]) == network.loss(x[:1], t[:1])
    assert network.loss(x[0], np.eye(4)[t[0]]) == network.loss(x[:1], t[:1])


def test_float32_stays_float32() -> None:
    network = TwoLayerNet(12, 7, 4, "he", seed=0, dtype=np.float32)
    x = np.ones((2, 12), np.float32)
    assert network.predict(x).dtype == np.float32
    assert {array.dtype for array in network.gradient(x, [0, 1]).values()} == {np.dtype(np.float32)}
    SGD(0.1).update(network.params, network.gradient(x, [0, 1]))
    assert {array.dtype for array in network.params.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("value", [1e4, -1e4])
def test_nothing_overflows_for_large_inputs(activation: Activation, value: float) -> None:
    network = TwoLayerNet(12, 7, 4, "he", activation=activation, seed=0, dtype=np.float32)
    x = np.full((2, 12), value, np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert np.isfinite(network.loss(x, [0, 1]))
        assert all(np.isfinite(array).all() for array in network.gradient(x, [0, 1]).values())


@pytest.mark.parametrize(("init", "deviation"), [("he", np.sqrt(2 / 784)), ("xavier", np.sqrt(1 / 784)), (0.01, 0.01)])
def test_initialisation_has_the_deviation_that_was_asked_for(init: float, deviation: float) -> None:
    params = TwoLayerNet(784, 100, 10, init, seed=0).params
    assert params["W1"].std() == pytest.approx(deviation, rel=0.02)
    assert not params["b1"].any()


def test_a_seed_decides_everything() -> None:
    first, same, other = (TwoLayerNet(5, 4, 3, seed=seed).params for seed in (1, 1, 2))
    assert (first["W1"] == same["W1"]).all()
    assert (first["W1"] != other["W1"]).any()


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="tanh"):
        TwoLayerNet(5, 4, 3, activation="tanh")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="glorot"):
        TwoLayerNet(5, 4, 3, "glorot")  # type: ignore[arg-type]


def test_threads_that_predict_do_not_disturb_a_gradient() -> None:
    network = TwoLayerNet(64, 30, 10, "he", seed=0)
    random = np.random.default_rng(0)
    x, t = random.random((50, 64)), random.integers(0, 10, 50)
    other = random.random((7, 64))
    expected = network.gradient(x, t)["W1"]
    expected_logits = network.predict(other)
    stop = threading.Event()
    wrong = []

    def predict() -> None:
        while not stop.is_set():
            if not (network.predict(other) == expected_logits).all():
                wrong.append("predict")

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        if not (network.gradient(x, t)["W1"] == expected).all():
            wrong.append("gradient")
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_see_parameters_that_are_assigned_as_a_whole_as_a_whole() -> None:
    """Every set of parameters answers with its own number whatever the image: a mixture would give another one."""
    ones = np.ones(1)
    network = TwoLayerNet.from_params({"W1": np.zeros((1, 1)), "b1": ones, "W2": np.ones((1, 1)), "b2": -ones})
    stop = threading.Event()
    wrong = []

    def predict() -> None:
        while not stop.is_set():
            if (answer := network.predict(np.ones((1, 1)))[0, 0]) != 0:
                wrong.append(answer)

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(5000):
        network.params = {**network.params, "b1": ones * i, "b2": -ones * i}
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
