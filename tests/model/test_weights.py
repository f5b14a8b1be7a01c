import io
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from model import TwoLayerNet
from model import weights as weights_file
from model.weights import Weights, WeightsError

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
        ({"W2": np.zeros((4, 3))}, r"W2 has shape \(4, 3\).*should be \(5, 3\)"),
        ({"b2": np.zeros((1, 3))}, r"b2 has shape \(1, 3\).*should be \(3,\)"),
        ({"W1": np.zeros(6)}, r"W1 has shape \(6,\): it should be \(input, hidden\)"),
        ({"W1": np.zeros((6, 5), np.int64)}, "W1 holds int64"),
        ({"b2": np.array([0, np.nan, 0])}, "b2 holds a number that is not finite"),
        ({"b2": np.array([0, 1e300, 0])}, "b2 holds a number that is not finite in float32"),
        ({"settings": np.array('{"image_shape": [5, 5]}')}, "image_shape is 5 × 5, but W1 takes 6"),
        ({"settings": np.array('{"activation": "tanh"}')}, "activation 'tanh'"),
        ({"settings": np.array("[")}, "not JSON"),
    ],
)
def test_what_does_not_fit_together_is_named(changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        weights_file.from_bytes(npz(**{**PARAMS, **changed}))


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


def test_a_compression_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_file, "MOST_BYTES", 1_000_000)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("W1.npy", bytes(1_000_001))
    assert len(stream.getvalue()) < 2000
    with pytest.raises(WeightsError, match="unpacks to 1000001 bytes, more than the limit"):
        weights_file.from_bytes(stream.getvalue())


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
