"""The weights file: an .npz with W1, b1, W2, b2, and, in files that are written here, the settings they go with."""

import io
import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model.memory import NOTHING, Memory, MemoryFileError, memory_arrays, read_memory
from model.npy import NpyError, read_npz
from model.two_layer_net import ACTIVATIONS, Activation, TwoLayerNet
from model.types import PARAMETER_NAMES, Parameters
from model.whole_file import replacing

MOST_BYTES = 1 << 30
"""What a file's arrays may unpack to, unless the caller knows better."""

MOST_SETTINGS_CHARACTERS = 64 * 1024
MOST_SETTINGS_LEVELS = 8
"""Of lists and objects within each other. Both are checked before the text is parsed, and before it is written."""

MOST_DIGITS = 1000
"""Of a whole number in the settings: Python itself reads no more than 4,300."""

LONGEST_LABEL_NAME = 100
LONGEST_SHOWN = 60

SETTINGS_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[][{}]', re.DOTALL)
"""Strings, which may hold brackets, even ones without an end; and brackets."""


class WeightsError(ValueError):
    """The weights can't be used; the message names the array, what it is and what it should be."""


@dataclass(frozen=True)
class Weights:
    """Parameters (float32) and what is needed to use them.

    image_shape: rows and columns; where the file does not say, a square, or None if there is none.
    training: how they came about, for people. memory: what the live network rehearses. label_names: of the classes, in
    the order of their numbers, where they have names.
    """

    params: Parameters
    activation: Activation = "relu"
    image_shape: tuple[int, int] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    memory: Memory = NOTHING
    label_names: tuple[str, ...] | None = None

    @property
    def input_size(self) -> int:
        return int(self.params["W1"].shape[0])

    @property
    def hidden_size(self) -> int:
        return int(self.params["W1"].shape[1])

    @property
    def output_size(self) -> int:
        return int(self.params["W2"].shape[1])

    def network(self) -> TwoLayerNet:
        return TwoLayerNet.from_params(self.params, self.activation)


def to_bytes(weights: Weights) -> bytes:
    """The weights as an .npz; the same weights give the same bytes. Raises WeightsError for settings that `from_bytes`
    would refuse."""
    stream = io.BytesIO()
    arrays: dict[str, Any] = {name: weights.params[name] for name in PARAMETER_NAMES}
    arrays |= memory_arrays(weights.memory, weights.input_size)
    np.savez(stream, settings=np.array(_settings_text(weights)), **arrays)
    return stream.getvalue()


def from_bytes(data: bytes, most_bytes: int = MOST_BYTES, activation: Activation | None = None) -> Weights:
    """What `to_bytes` can write again.

    most_bytes: what the arrays may unpack to. activation: of a file that does not say its own, which is a relu one
    otherwise.

    Raises WeightsError for what is no .npz, or whose arrays are missing, not finite or do not fit together, for
    settings that are not what they should be, and for another activation than the file says.
    """
    try:
        arrays = read_npz(data, most_bytes)
        params = checked_params(arrays)
        memory = read_memory(arrays, len(params["W1"]), len(params["b2"]))
    except (NpyError, MemoryFileError) as error:
        raise WeightsError(str(error)) from error
    settings = _settings(arrays)
    weights = Weights(
        params=params,
        activation=_activation(settings.get("activation", activation or "relu")),
        image_shape=_image_shape(settings.get("image_shape"), params["W1"].shape[0]),
        training=_training(settings.get("training", {})),
        memory=memory,
        label_names=_label_names(settings.get("label_names"), params["W2"].shape[1]),
    )
    if activation not in (None, weights.activation):
        raise WeightsError(f"the file says that its activation is {weights.activation}, not {activation}")
    _settings_text(weights)  # it may be longer than what was read: 1e15 is written as 1000000000000000.0
    return weights


def save(path: str | Path, weights: Weights) -> None:
    """Write the file whole or not at all. Raises OSError."""
    data = to_bytes(weights)
    with replacing(Path(path)) as file:
        file.write(data)


def load(path: str | Path, activation: Activation | None = None) -> Weights:
    """activation: as in `from_bytes`.

    Raises OSError when the file can't be read, WeightsError, naming it, when it can't be used.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise WeightsError(f"{path}: larger than {MOST_BYTES} bytes")
        data = file.read()
    try:
        return from_bytes(data, activation=activation)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def checked_params(arrays: dict[str, NDArray[Any]]) -> Parameters:
    """W1, b1, W2, b2 as float32 arrays of their own that fit together; WeightsError where they do not."""
    for name in PARAMETER_NAMES:
        if name not in arrays:
            raise WeightsError(f"the array {name} is missing: W1, b1, W2 and b2 are needed")
        if arrays[name].dtype.kind != "f":
            raise WeightsError(f"{name} holds {arrays[name].dtype}: floating-point numbers are needed")
    for name in ("W1", "W2"):
        if arrays[name].ndim != 2 or 0 in arrays[name].shape:
            sizes = "(input, hidden)" if name == "W1" else "(hidden, output)"
            raise WeightsError(f"{name} has shape {arrays[name].shape}: it should be {sizes}")
    hidden, output = arrays["W1"].shape[1], arrays["W2"].shape[1]
    for name, expected in (("b1", (hidden,)), ("W2", (hidden, output)), ("b2", (output,))):
        if arrays[name].shape != expected:
            others = " and ".join(f"{other} {arrays[other].shape}" for other in ("W1", "W2") if other != name)
            raise WeightsError(f"{name} has shape {arrays[name].shape}: beside {others} it should be {expected}")
    with np.errstate(all="ignore"):
        params: Parameters = {name: np.array(arrays[name], np.float32, order="C") for name in PARAMETER_NAMES}
    for name, array in params.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"{name} holds a number that is not finite in float32")
    return params


def _settings_text(weights: Weights) -> str:
    """Raises WeightsError."""
    settings: dict[str, Any] = {
        "activation": weights.activation,
        "image_shape": weights.image_shape,
        "pixel_range": [0, 1],
        "training": weights.training,
    }
    if weights.label_names is not None:
        settings["label_names"] = weights.label_names
    try:
        text = json.dumps(settings)
    except (TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"the settings can't be written as JSON: {error}") from error
    read = _parsed(text)
    _activation(read["activation"])
    _training(read["training"])
    _label_names(read.get("label_names"), weights.output_size)
    return text


def _settings(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The JSON object in the array settings, without any other check of what is in it."""
    array = arrays.get("settings")
    if array is None:
        return {}
    if array.dtype.kind != "U" or array.shape != ():
        raise WeightsError(f"settings is {array.dtype} {array.shape}: it should be one text, JSON, of shape ()")
    characters = array.nbytes // 4
    if characters > MOST_SETTINGS_CHARACTERS:
        raise _too_long(characters)
    codec = "utf-32-be" if array.dtype.str.startswith(">") else "utf-32-le"
    try:
        text = array.tobytes().decode(codec)  # numpy itself fails on what is no character
    except UnicodeDecodeError as error:
        raise WeightsError("settings holds what is no text: it should be one text of JSON") from error
    return _parsed(text.rstrip("\0"))


def _parsed(text: str) -> dict[str, Any]:
    """The settings in a text. Its length and its levels are looked at first, for whatever is read is also written."""
    if len(text) > MOST_SETTINGS_CHARACTERS:
        raise _too_long(len(text))
    level = 0
    for token in SETTINGS_TOKENS.finditer(text):
        level += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if level > MOST_SETTINGS_LEVELS:
            raise WeightsError(f"settings has more than {MOST_SETTINGS_LEVELS} levels of lists and objects: too many")
    try:
        settings = json.loads(text, parse_constant=_finite, parse_float=_finite, parse_int=_whole)
        json.dumps(settings, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise WeightsError("settings holds half of a surrogate pair: it should be text") from error
    except json.JSONDecodeError as error:
        raise WeightsError("settings is not JSON") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"settings is {shown(settings)}: it should be a JSON object")
    return settings


def _too_long(characters: int) -> WeightsError:
    return WeightsError(f"settings has {characters} characters: it should have {MOST_SETTINGS_CHARACTERS} at most")


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise WeightsError(f"settings holds {shown(number)}: numbers should be finite")
    return value


def _whole(number: str) -> int:
    if len(number) > MOST_DIGITS:
        raise WeightsError(f"settings holds a number of {len(number)} digits: it should have {MOST_DIGITS} at most")
    return int(number)


def _activation(stated: object) -> Activation:
    if not isinstance(stated, str) or stated not in ACTIVATIONS:
        raise WeightsError(f"the activation {shown(stated)} is not one of {', '.join(ACTIVATIONS)}")
    return cast(Activation, stated)


def _training(stated: object) -> dict[str, Any]:
    if not isinstance(stated, dict):
        raise WeightsError(f"training is {shown(stated)}: it should be a JSON object")
    return stated


def _image_shape(stated: object, input_size: int) -> tuple[int, int] | None:
    if stated is None:
        side = math.isqrt(input_size)
        return (side, side) if side * side == input_size else None
    if not (isinstance(stated, list) and len(stated) == 2 and all(type(size) is int for size in stated)):
        raise WeightsError(f"image_shape is {shown(stated)}: it should be two whole numbers, rows and columns")
    rows, columns = stated
    if rows < 1 or rows * columns != input_size:
        raise WeightsError(f"image_shape is {shown(rows)} × {shown(columns)}, but W1 takes {input_size} pixels")
    return rows, columns


def _label_names(stated: object, classes: int) -> tuple[str, ...] | None:
    return None if stated is None else checked_label_names(stated, classes)


def checked_label_names(stated: object, classes: int) -> tuple[str, ...]:
    """A name for each class, each another one. Raises WeightsError."""
    if not (isinstance(stated, list) and all(isinstance(name, str) for name in stated)):
        raise WeightsError(f"label_names is {shown(stated)}: it should be a list of texts")
    if len(stated) != classes:
        raise WeightsError(f"label_names has {len(stated)} names, but W2 gives {classes} classes")
    seen: set[str] = set()
    for number, name in enumerate(stated):
        if not name.strip() or len(name) > LONGEST_LABEL_NAME:
            raise WeightsError(
                f"the label name {shown(name)} of class {number} should have 1 to {LONGEST_LABEL_NAME} characters"
            )
        if name in seen:
            raise WeightsError(f"label_names has {shown(name)} twice")
        seen.add(name)
    return tuple(stated)


def shown(value: object) -> str:
    """For a message: the value, but for what would go on and on."""
    text = ascii(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
