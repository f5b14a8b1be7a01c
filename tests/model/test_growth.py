import numpy as np

from model import TwoLayerNet
from model.growth import grown
from model.online_step import online_step, planned
from model.replay_memory import sample
from model.weights_file import Weights, from_bytes, to_bytes

PARAMS = TwoLayerNet(6, 5, 3, "he", seed=0, dtype=np.float32).params
PIXELS = np.random.default_rng(0).integers(0, 256, (90, 6), dtype=np.uint8)
LABELS = np.arange(90) % 3


def test_a_class_more_leaves_the_others_what_they_are_and_goes_through_a_file() -> None:
    before = {name: array.copy() for name, array in PARAMS.items()}
    memory = sample(PIXELS, LABELS, 30, seed=0)
    weights = Weights(PARAMS, label_names=("a", "b", "c"), memory=memory, training={"epochs": 1})
    larger = grown(weights, "d")
    x = PIXELS / np.float32(255)
    assert (larger.network().predict(x)[:, :3] == weights.network().predict(x)).all()
    assert larger.params["b2"][3] == PARAMS["b2"].min()
    assert {array.dtype for array in larger.params.values()} == {np.dtype(np.float32)}
    assert (larger.label_names, larger.memory, larger.training) == (("a", "b", "c", "d"), memory, {})
    assert to_bytes(from_bytes(to_bytes(larger))) == to_bytes(larger)
    assert all((PARAMS[name] == before[name]).all() for name in before)
    assert grown(Weights(PARAMS)).label_names is None


def test_a_class_more_can_be_taught() -> None:
    weights = grown(Weights(PARAMS, memory=sample(PIXELS, LABELS, 30, seed=0)))
    new = np.full((1, 6), 255, np.uint8)
    for version in range(2, 80):
        weights = online_step(weights, new, np.array([3]), 0.1, rehearsal=planned(weights, version, 1, 8, 40)).weights
    assert weights.network().predict(new / np.float32(255)).argmax() == 3
    assert [len(rows) for rows in weights.memory.classes] == [10, 10, 10, 10]
