"""The pixels of a JSON body without a Python object for each.

simdjson finds the numbers and hands them over as one buffer; 784 pixels cost 10 µs instead of 55. It is taken for good
input only: whatever is not plainly a list of images of the right size is left to pydantic, which says what is wrong.
"""

from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

from model.weights import Weights

LARGEST_KEPT_PARSER = 2**20
"""Bytes. A parser keeps some fifteen times the largest body that it has seen; a larger body gets one of its own."""

_kept: list[simdjson.Parser] = []
"""At most one, for whoever comes next: requests are mostly answered one after the other."""


def read_numbers(body: bytes, weights: Weights) -> tuple[NDArray[np.float64], dict[str, Any]] | None:
    """Pixels, (n, features), finite, as the body has them, and the other fields as Python objects; or None."""
    try:
        parser = _kept.pop()
    except IndexError:
        parser = simdjson.Parser()
    try:
        return _read(parser.parse(body), body, weights)
    except (ValueError, TypeError, RuntimeError, OverflowError):  # what simdjson has for all that it does not take
        return None
    finally:
        if not _kept and len(body) <= LARGEST_KEPT_PARSER:
            _kept.append(parser)


def _read(document: Any, body: bytes, weights: Weights) -> tuple[NDArray[np.float64], dict[str, Any]] | None:
    if not isinstance(document, simdjson.Object):
        return None
    keys = list(document.keys())
    key = "images" if "images" in keys else "image"
    if ("image" in keys) == ("images" in keys) or len(set(keys)) != len(keys):
        return None
    values = document[key]
    if not isinstance(values, simdjson.Array) or len(values) == 0:
        return None
    lists = 1
    images: list[Any] = [values]
    if key == "images":
        images = list(values)
        lists += len(images)
    if set(map(len, images)) != {weights.input_size}:
        for image in images:
            if len(image) != weights.input_size:
                if not in_rows(image, weights):
                    return None
                lists += len(image)
    fields = {name: plain(document[name]) for name in keys if name != key}
    labels = fields.get("labels")
    if isinstance(labels, list):
        lists += 1 + sum(isinstance(label, list) for label in labels)
    # Each list that was counted has one bracket. Any other bracket is of a list where a number belongs.
    if np.count_nonzero(np.frombuffer(body, np.uint8) == ord("[")) != lists:
        return None
    pixels: NDArray[np.float64] = np.frombuffer(values.as_buffer(of_type="d"), np.float64)
    return pixels.reshape(len(images), weights.input_size), fields


def in_rows(image: Any, weights: Weights) -> bool:
    """Whether an image is a list of rows, of the network's number and length."""
    if weights.image_shape is None or len(image) != weights.image_shape[0]:
        return False
    columns = weights.image_shape[1]
    return all(isinstance(row, simdjson.Array) and len(row) == columns for row in image)


def plain(value: Any) -> Any:
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value
