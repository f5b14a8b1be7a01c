import io
import json
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import TwoLayerNet, weights_file
from model.weights_file import Weights, WeightsError

PARAMS = TwoLayerNet(6, 5, 3, "he", seed=0, dtype=np.float32).params


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    weights = Weights(PARAMS, "sigmoid", (2, 3), {"seed": 4})
    weights_file.save(tmp_path / "w.npz", weights)
    loaded = weights_file.load(tmp_path / "w.npz")
    assert (loaded.activation, loaded.image_shape, loaded.training) == ("sigmoid", (2, 3), {"seed": 4})
    assert all((loaded.params[name] == PARAMS[name]).all() for name in PARAMS)
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]


def test_a_plain_file_of_four_arrays_loads_as_float32() -> None:
    loaded = weights_file.from_bytes(npz(**{name: array.astype(np.float64) for name, array in PARAMS.items()}))
    assert (loaded.activation, loaded.image_shape) == ("relu", None)
    assert all(array.dtype == np.float32 for array in loaded.params.values())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"b1": np.zeros(4)}, r"b1 has shape \(4,\).*should be \(5,\)"),
        ({"W2": np.zeros((4, 3))}, r"W2 has shape \(4, 3\): with W1 \(6, 5\) it should be \(5, 3\)"),
        ({"b2": np.zeros((1, 3))}, r"b2 has shape \(1, 3\).*should be \(3,\)"),
        ({"W1": np.zeros(6)}, r"W1 has shape \(6,\): it should be \(input, hidden\)"),
        ({"W1": np.zeros((6, 5), np.int64)}, "W1 holds int64"),
        ({"b2": np.array([0, np.nan, 0])}, "b2 holds a number that is not finite"),
        ({"b2": np.array([0, 1e300, 0])}, "b2 holds a number that is not finite in float32"),
        ({"settings": np.array('{"image_shape": [5, 5]}')}, "image_shape is 5 × 5, but W1 takes 6"),
        ({"settings": np.array('{"activation": "tanh"}')}, "activation 'tanh'"),
        ({"settings": np.array("[")}, "settings is not JSON"),
        ({"settings": np.array("[]")}, r"settings is \[\]: it should be a JSON object"),
        ({"settings": np.array("5")}, "settings is 5: it should be a JSON object"),
        ({"settings": np.array('{"activation": ["relu"]}')}, r"activation \['relu'\] is not one of relu, sigmoid"),
        ({"settings": np.array('{"activation": null}')}, "activation None"),
        ({"settings": np.array('{"image_shape": [true, 6]}')}, r"image_shape is \[True, 6\]: it should be two whole"),
        ({"settings": np.array('{"image_shape": [6.0, 1]}')}, "should be two whole numbers"),
        ({"settings": np.array('{"image_shape": [-2, -3]}')}, "image_shape is -2 × -3"),
        ({"settings": np.array('{"image_shape": [' + "9" * 900 + ", 1]}")}, "…, but W1|… × 1, but W1"),
        ({"settings": np.array('{"training": [1]}')}, r"training is \[1\]: it should be a JSON object"),
        ({"settings": np.array('{"training": null}')}, "training is None: it should be a JSON object"),
        ({"settings": np.array('{"training": {"a": NaN}}')}, "settings is not JSON"),
        ({"settings": np.array('{"training": {"a": -Infinity}}')}, "settings is not JSON"),
        ({"settings": np.array('{"training": {"a": 1e999}}')}, "settings is not JSON"),
        ({"settings": np.array('{"training": {"a": ' + "9" * 5000 + "}}")}, "settings is not JSON: .*digits"),
        ({"settings": np.array('{"training": {"a": "\\ud800"}}')}, "settings is not JSON: .*surrogates"),
        ({"settings": np.array('{"training": {"\ud800": 1}}')}, "settings is not text"),
        ({"settings": np.frombuffer(b"\xff\xff\xff\x7f", "<U1").reshape(())}, "settings is not text"),
        ({"settings": np.array(b"{}")}, r"settings is \|S2 \(\): it should be one text"),
        ({"settings": np.array(["{}"])}, r"settings is <U2 \(1,\): it should be one text"),
        ({"settings": np.array(5)}, r"settings is int64 \(\): it should be one text"),
        (
            {"settings": np.array("{}", "<U70000")},
            r"settings is <U70000 \(\): it should be one text .* at most 65536 characters",
        ),
        ({"memory.x": np.zeros((2, 6), np.uint8)}, "memory.t is missing"),
        ({"memory.x": np.zeros((2, 6), np.float32), "memory.t": np.zeros(2, int)}, r"memory.x is float32 \(2, 6\)"),
        ({"memory.x": np.zeros((2, 5), np.uint8), "memory.t": np.zeros(2, int)}, r"uint8 \(n, 6\)"),
        ({"memory.x": np.zeros((2, 6), np.uint8), "memory.t": np.zeros(3, int)}, r"memory.t is int64 \(3,\)"),
        ({"memory.x": np.zeros((2, 6), np.uint8), "memory.t": np.array([0, 3])}, "class 3: the network has .* 0 to 2"),
        ({"memory.x": np.zeros((2, 6), np.uint8), "memory.t": np.array([0, -1])}, "class -1"),
        (
            {"memory.x": np.zeros((10_001, 6), np.uint8), "memory.t": np.zeros(10_001, int)},
            "a memory has at most 10000",
        ),
        (
            {"memory.x": np.zeros((2, 6), np.uint8), "memory.t": np.zeros(2, int), "memory.posted": np.zeros(3, bool)},
            r"memory.posted is bool \(3,\)",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        weights_file.from_bytes(npz(**{**PARAMS, **changed}))


def nested(levels: int) -> str:
    """Settings with so many objects in each other, all in all."""
    return '{"training": ' + '{"a": ' * (levels - 1) + "1" + "}" * levels


def test_settings_go_only_so_deep_in_what_is_read_and_in_what_is_written() -> None:
    deep = weights_file.from_bytes(npz(**PARAMS, settings=np.array(nested(8))))
    assert weights_file.from_bytes(weights_file.to_bytes(deep)).training == deep.training
    for levels in (9, 975, 5000):
        with pytest.raises(WeightsError, match="more than 8 levels"):
            weights_file.from_bytes(npz(**PARAMS, settings=np.array(nested(levels))))
    for training in (json.loads(nested(8)), deep_training(975), deep_training(100_000)):
        with pytest.raises(WeightsError, match=r"more than 8 levels|can't be written"):
            weights_file.to_bytes(Weights(PARAMS, training=training))


def deep_training(levels: int) -> dict[str, Any]:
    training: dict[str, Any] = {}
    for _ in range(levels):
        training = {"a": training}
    return training


def test_brackets_in_a_string_are_no_levels() -> None:
    training = {"a": "[[[[[[[[[[[[", 'b"[[[[[[{{{{': "\\", "c": '\\"{{{{{{{{{{'}
    assert weights_file.from_bytes(weights_file.to_bytes(Weights(PARAMS, training=training))).training == training


@pytest.mark.parametrize("training", [{"a": float("nan")}, {"a": float("inf")}, {"a": 10**5000}, {"a": "\ud800"}])
def test_what_could_not_be_read_is_not_written(training: dict[str, Any]) -> None:
    with pytest.raises(WeightsError):
        weights_file.to_bytes(Weights(PARAMS, training=training))


@pytest.mark.parametrize("text", ['"' + "é" * 20_000 + '"', "[" + "1e15," * 8000 + "1]"], ids=["escapes", "floats"])
def test_settings_that_would_be_too_long_when_written_again_are_refused(text: str) -> None:
    with pytest.raises(WeightsError, match="at most 65536"):
        weights_file.from_bytes(npz(**PARAMS, settings=np.array(f'{{"training": {{"a": {text}}}}}')))


def test_settings_that_are_made_to_be_slow_are_not() -> None:
    for text in ('"' + '\\"' * 32_000, '"' * 65_000, "[" * 65_000, '{"a":' * 13_000, '"' + "a" * 65_000):
        with pytest.raises(WeightsError):
            weights_file.from_bytes(npz(**PARAMS, settings=np.array(text)))


def test_a_missing_array_is_named() -> None:
    with pytest.raises(WeightsError, match="W2 is missing"):
        weights_file.from_bytes(npz(**{name: array for name, array in PARAMS.items() if name != "W2"}))


def test_nothing_is_unpickled() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("unpickled",)

    objects = np.empty(1, object)
    objects[0] = Bomb()
    with pytest.raises(WeightsError, match="only plain numbers"):
        weights_file.from_bytes(npz(**{**PARAMS, "W1": objects}))
    with pytest.raises(WeightsError, match=r"not a \.npz"):
        weights_file.from_bytes(pickle.dumps(PARAMS))


def test_a_shape_that_is_only_claimed_is_not_allocated() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1 << 20)}
        )
        archive.writestr("W1.npy", header.getvalue() + b"1234")
    with pytest.raises(WeightsError, match="but 4 follow"):
        weights_file.from_bytes(stream.getvalue())


def test_a_compression_bomb_is_not_unpacked() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("W1.npy", bytes(1_000_001))
    assert len(stream.getvalue()) < 2000
    with pytest.raises(WeightsError, match="unpacks to 1000001 bytes, more than the limit"):
        weights_file.from_bytes(stream.getvalue(), most_bytes=1_000_000)


def test_any_damage_is_refused_with_a_message() -> None:
    whole = weights_file.to_bytes(Weights(PARAMS))
    for cut in range(0, len(whole), 37):
        with pytest.raises(WeightsError):
            weights_file.from_bytes(whole[:cut])
    for at in range(0, len(whole), 11):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        with suppress(WeightsError):  # whatever else a damaged byte does, it raises nothing but this
            weights_file.from_bytes(bytes(damaged))


def test_the_same_weights_give_the_same_bytes() -> None:
    assert weights_file.to_bytes(Weights(PARAMS)) == weights_file.to_bytes(Weights(PARAMS))


def test_a_file_that_does_not_say_its_activation_takes_the_one_that_is_named() -> None:
    plain, said = npz(**PARAMS), npz(**PARAMS, settings=np.array('{"activation": "relu"}'))
    assert weights_file.from_bytes(plain, activation="sigmoid").activation == "sigmoid"
    assert weights_file.from_bytes(said, activation="relu").activation == "relu"
    with pytest.raises(WeightsError, match="records the activation relu, not sigmoid"):
        weights_file.from_bytes(said, activation="sigmoid")
