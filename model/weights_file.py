"""The weights file: an .npz with W1, b1, W2, b2; files that we write also hold their settings and the memory."""

import io
import json
import math
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.atomic_file import replacing
from model.replay_memory import MOST_REMEMBERED, NOTHING, Kept, Memory, Recent, most_examples, most_recent
from model.safe_npz import NpyError, read_npz
from model.two_layer_net import ACTIVATIONS, Activation, TwoLayerNet
from model.types import PARAMETER_NAMES, Parameters

MOST_BYTES = 1 << 30
"""Limit for the unpacked arrays of a file, unless the caller states another."""

MOST_SETTINGS_CHARACTERS = 64 * 1024
MOST_SETTINGS_LEVELS = 8
LONGEST_LABEL_NAME = 100
LONGEST_SHOWN = 60

X, T, POSTED, RECENT_X, RECENT_T = "memory.x", "memory.t", "memory.posted", "memory.recent.x", "memory.recent.t"


class WeightsError(ValueError):
    """The weights can't be used. The message names the array, its value and the expected one."""


@dataclass(frozen=True)
class Weights:
    """Parameters (float32) and what is needed to use them.

    image_shape: rows and columns; for a file that does not record them, a square, or None if that can't be.
    training: how the network was trained, for people. memory: for the live network. label_names: of the classes, in
    the order of their numbers, if they have names.
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
    """Weights that `to_bytes` can write again.

    most_bytes: limit for the unpacked arrays. activation: for a file that does not record its own (default relu).

    Raises WeightsError for data that is not an .npz, for arrays that are missing, not finite or do not fit together,
    for invalid settings, and for an activation other than the recorded one.
    """
    try:
        arrays = read_npz(data, most_bytes)
    except NpyError as error:
        raise WeightsError(str(error)) from error
    params = checked_params(arrays)
    memory = read_memory(arrays, len(params["W1"]), len(params["b2"]))
    weights = _with_settings(Weights(params, activation or "relu", memory=memory), _settings(arrays))
    if activation not in (None, weights.activation):
        raise WeightsError(f"the file records the activation {weights.activation}, not {activation}")
    _settings_text(weights)  # it may be longer than the text that was read: 1e15 is written as 1000000000000000.0
    return weights


def save(path: str | Path, weights: Weights) -> None:
    """Write the whole file or nothing. Raises OSError."""
    data = to_bytes(weights)
    with replacing(Path(path)) as file:
        file.write(data)


def load(path: str | Path, activation: Activation | None = None) -> Weights:
    """activation: as in `from_bytes`.

    Raises OSError when the file can't be read, and WeightsError, naming the file, when it can't be used.
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
    """Copies of W1, b1, W2 and b2 in float32. Raises WeightsError where they do not fit together."""
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
            raise WeightsError(f"{name} has shape {arrays[name].shape}: with {others} it should be {expected}")
    with np.errstate(all="ignore"):
        params: Parameters = {name: np.array(arrays[name], np.float32, order="C") for name in PARAMETER_NAMES}
    for name, array in params.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"{name} holds a number that is not finite in float32")
    return params


def _settings_text(weights: Weights) -> str:
    """Raises WeightsError for settings that can't be read again."""
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
    _with_settings(weights, _parsed(text))
    return text


def _settings(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The JSON object in the array settings, without a check of its values."""
    array = arrays.get("settings", np.array("{}"))
    if array.dtype.kind != "U" or array.shape != () or array.nbytes > 4 * MOST_SETTINGS_CHARACTERS:
        raise WeightsError(
            f"settings is {array.dtype} {array.shape}: it should be one text of JSON, of shape () and with at most "
            f"{MOST_SETTINGS_CHARACTERS} characters"
        )
    try:
        text = array.astype(array.dtype.newbyteorder("<")).tobytes().decode("utf-32-le")  # str() of numpy may crash
    except UnicodeDecodeError as error:
        raise WeightsError("settings is not text") from error
    return _parsed(text.rstrip("\0"))


def _parsed(text: str) -> dict[str, Any]:
    """The settings in a text, which JSON can represent: no NaN, no half of a surrogate pair."""
    if len(text) > MOST_SETTINGS_CHARACTERS:
        raise WeightsError(f"settings has {len(text)} characters: it should have at most {MOST_SETTINGS_CHARACTERS}")
    try:
        settings = json.loads(text)
        _check_levels(settings, MOST_SETTINGS_LEVELS)
        json.dumps(settings, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise WeightsError(f"settings has more than {MOST_SETTINGS_LEVELS} levels of lists and objects") from error
    except ValueError as error:
        raise WeightsError(f"settings is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"settings is {shown(settings)}: it should be a JSON object")
    return settings


def _check_levels(value: object, left: int) -> None:
    """Raises RecursionError, as the parser does for very many levels."""
    if isinstance(value, dict | list):
        if left == 0:
            raise RecursionError
        for below in value.values() if isinstance(value, dict) else value:
            _check_levels(below, left - 1)


def _with_settings(weights: Weights, settings: dict[str, Any]) -> Weights:
    """The weights with what the settings of their file record. Raises WeightsError."""
    activation = settings.get("activation", weights.activation)
    if activation not in list(ACTIVATIONS):
        raise WeightsError(f"the activation {shown(activation)} is not one of {', '.join(ACTIVATIONS)}")
    training = settings.get("training", {})
    if not isinstance(training, dict):
        raise WeightsError(f"training is {shown(training)}: it should be a JSON object")
    names = settings.get("label_names")
    return replace(
        weights,
        activation=activation,
        image_shape=_image_shape(settings.get("image_shape"), weights.input_size),
        training=training,
        label_names=None if names is None else checked_label_names(names, weights.output_size),
    )


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


def checked_label_names(stated: object, classes: int) -> tuple[str, ...]:
    """A different name for each class. Raises WeightsError."""
    if not (isinstance(stated, list) and all(isinstance(name, str) for name in stated)):
        raise WeightsError(f"label_names is {shown(stated)}: it should be a list of texts")
    if len(stated) != classes:
        raise WeightsError(f"label_names has {len(stated)} names, but W2 gives {classes} classes")
    for number, name in enumerate(stated):
        if not name.strip() or len(name) > LONGEST_LABEL_NAME:
            raise WeightsError(
                f"the label name {shown(name)} of class {number} should have 1 to {LONGEST_LABEL_NAME} characters"
            )
    if twice := [name for name, count in Counter(stated).items() if count > 1]:
        raise WeightsError(f"label_names has {shown(twice[0])} twice")
    return tuple(stated)


def shown(value: object) -> str:
    """A value for a message, shortened."""
    text = ascii(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def memory_arrays(memory: Memory, features: int) -> dict[str, NDArray[Any]]:
    """The arrays of a memory in a weights file: none for an empty memory."""
    if not len(memory):
        return {}
    kept = [(kept, label) for label, rows in enumerate(memory.classes) for kept in rows]
    arrays: dict[str, NDArray[Any]] = {
        X: _rows_of([example.pixels for example, _ in kept], features),
        T: np.array([label for _, label in kept], np.uint32),
    }
    if memory.posted or memory.recent:
        arrays[POSTED] = np.array([example.posted for example, _ in kept])
    if memory.recent:
        arrays[RECENT_X] = _rows_of([example.pixels for example in memory.recent], features)
        arrays[RECENT_T] = np.array([example.label for example in memory.recent], np.uint32)
    return arrays


def _rows_of(pixels: list[bytes], features: int) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, features)


def read_memory(arrays: dict[str, NDArray[Any]], features: int, classes: int) -> Memory:
    """The memory in a weights file; the posted flags and the recent examples may be missing.

    Within a class the images keep their order. Raises WeightsError.
    """
    if X not in arrays and T not in arrays:
        return NOTHING
    pixels, labels = _examples(arrays, X, T, features, classes)
    posted = arrays.get(POSTED, np.zeros(len(labels), np.bool_))
    if posted.dtype != np.bool_ or posted.shape != labels.shape:
        raise WeightsError(f"{POSTED} is {posted.dtype} {posted.shape}: it should be bool {labels.shape}")
    most = most_examples(MOST_REMEMBERED, features)
    if len(labels) > most:
        raise WeightsError(f"{X} holds {len(labels)} images of {features} pixels: a memory has at most {most}")
    sampled: list[list[Kept]] = [[] for _ in range(classes)]
    for row, label, flag in zip(pixels, labels.tolist(), posted.tolist(), strict=True):
        sampled[label].append(Kept(row.tobytes(), flag))
    recent: tuple[Recent, ...] = ()
    if RECENT_X in arrays or RECENT_T in arrays:
        pixels, labels = _examples(arrays, RECENT_X, RECENT_T, features, classes)
        last = slice(-most_recent(features), None)
        recent = tuple(Recent(*row) for row in zip(map(bytes, pixels[last]), labels[last].tolist(), strict=True))
    return Memory(tuple(map(tuple, sampled)), recent, int(posted.sum())) if len(posted) else NOTHING


def _examples(
    arrays: dict[str, NDArray[Any]], x: str, t: str, features: int, classes: int
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    for name in (x, t):
        if name not in arrays:
            raise WeightsError(f"the array {name} is missing: a memory has {x} and {t}")
    pixels, labels = arrays[x], arrays[t]
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != features:
        raise WeightsError(f"{x} is {pixels.dtype} {pixels.shape}: it should be uint8 (n, {features}), inputs of W1")
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise WeightsError(f"{t} is {labels.dtype} {labels.shape}: it should be whole numbers ({len(pixels)},), as {x}")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise WeightsError(f"{t} holds the class {wrong[0]}: the network has the classes 0 to {classes - 1}")
    return pixels, labels
