"""The pixels of a JSON body as an array: good input only. What is not plainly a list of images of the right size is
left to pydantic, which says what is wrong.

simdjson finds the numbers and hands them over as one buffer, without a Python object for each. Where it is not
installed, as it has no wheel for Python 3.14, they come from the objects that the body was read into.
"""

from importlib.util import find_spec
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.weights_file import Weights
from service.http.parsing import occurrences

if HAS_SIMDJSON := find_spec("simdjson") is not None:
    import simdjson

LARGEST_KEPT_PARSER = 2**20
"""Bytes. A parser keeps some fifteen times the largest body that it has seen; a larger body gets one of its own."""

MOST_OTHERS = 1_000_000
"""Values that are no pixels of plain images, such as labels: each becomes a Python object, or several."""

_kept: list[Any] = []
"""At most one, for the next request: they are mostly answered one after the other."""


class Numbers(NamedTuple):
    """values: (n, features), finite, as the body has them; in_rows: the images that came as rows of pixels; fields: the
    others; single: whether they came as one "image"."""

    values: NDArray[np.float64]
    in_rows: frozenset[int]
    fields: dict[str, Any]
    single: bool


def read_numbers(body: bytes, weights: Weights) -> Numbers | None:
    """Without a Python object for each number."""
    if not HAS_SIMDJSON:
        return None
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


def _read(document: Any, body: bytes, weights: Weights) -> Numbers | None:
    keys = list(document.keys()) if isinstance(document, simdjson.Object) else []
    key = "images" if "images" in keys else "image"
    if ("image" in keys) == ("images" in keys) or len(set(keys)) != len(keys):
        return None
    values = document[key]
    if not isinstance(values, simdjson.Array) or len(values) == 0:
        return None
    images: list[Any] = [values] if key == "image" else list(values)
    if len(body) > MOST_OTHERS and occurrences(body, b",") - len(images) * weights.input_size > MOST_OTHERS:
        return None
    in_rows: set[int] = set()
    if set(map(len, images)) != {weights.input_size}:
        in_rows = {n for n, image in enumerate(images) if len(image) != weights.input_size}
        if not all(are_rows(images[n], weights, simdjson.Array) for n in in_rows):
            return None
    fields = {name: plain(document[name]) for name in keys if name != key}
    lists = (key == "images") + len(images) + sum(len(images[n]) for n in in_rows)
    labels = fields.get("labels")
    if isinstance(labels, list):
        lists += 1 + sum(isinstance(label, list) for label in labels)
    # Each list that was counted has one bracket. Any other bracket is of a list where a number belongs.
    if occurrences(body, b"[") != lists:
        return None
    pixels: NDArray[np.float64] = np.frombuffer(values.as_buffer(of_type="d"), np.float64)
    return Numbers(pixels.reshape(len(images), weights.input_size), frozenset(in_rows), fields, key == "image")


def are_rows(image: Any, weights: Weights, array: Any) -> bool:
    """Whether an image is a list of rows, of the network's number and length."""
    if weights.image_shape is None or len(image) != weights.image_shape[0]:
        return False
    columns = weights.image_shape[1]
    return all(isinstance(row, array) and len(row) == columns for row in image)


def plain(value: Any) -> Any:
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value


def numbers_of(document: Any, weights: Weights) -> Numbers | None:
    """The same, from the objects that a body was read into."""
    if not isinstance(document, dict) or ("image" in document) == ("images" in document):
        return None
    key = "images" if "images" in document else "image"
    images = document[key] if key == "images" else [document[key]]
    if not isinstance(images, list) or not images:
        return None
    values, in_rows = np.empty((len(images), weights.input_size)), set()
    for n, image in enumerate(images):
        flat = image
        if isinstance(image, list) and len(image) != weights.input_size and are_rows(image, weights, list):
            in_rows.add(n)
            flat = [*chain.from_iterable(image)]
        if not isinstance(flat, list) or len(flat) != weights.input_size or not set(map(type, flat)) <= {int, float}:
            return None
        try:
            values[n] = flat
        except OverflowError:  # a whole number that is too large for a float
            return None
    fields = {name: value for name, value in document.items() if name != key}
    return Numbers(values, frozenset(in_rows), fields, key == "image") if np.isfinite(values).all() else None
