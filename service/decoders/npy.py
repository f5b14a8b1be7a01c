"""application/x-npy: what numpy.save writes; application/x-npz: arrays x and t."""

from typing import Any

import numpy as np
from flask import current_app
from numpy.typing import NDArray

from model.safe_npz import NpyError, read_npy, read_npz
from model.weights_file import Weights
from service.decoders.checks import Images, Labelled, checked_labels, checked_pixels, refuse_polarity, wanted
from service.decoders.request_body import Body, P
from service.http.problems import BadInput, Location

OTHER_ARRAYS = ("model_version", "rehearsed", "in_force", "t_in_force")
"""Arrays that /examples returns with x and t. They are ignored, so that its answer can be posted as it is."""

MOST_CONVERTED_BYTES = 64_000_000
"""Of numbers that are not bytes, and of the float32 that are made of them. All 10,000 images of an answer of /examples
fit."""


def read_images(body: Body[Any]) -> Images:
    try:
        array = read_npy(body.request.body)
    except NpyError as error:
        raise BadInput((), str(error)) from None
    refuse_polarity(body.query)
    return Images(pixels_of(array, body.weights, (), body.query.pixel_max))


def read_labelled(body: Body[P]) -> Labelled[P]:
    try:
        arrays = read_npz(body.request.body, current_app.config["MAX_UNPACKED_BYTES"])
    except NpyError as error:
        raise BadInput((), str(error)) from None
    for name in arrays:
        if name not in ("x", "t", *OTHER_ARRAYS):
            raise BadInput((name,), "no array of this name is read: expected x, the images, and t, their labels")
    for name in ("x", "t"):
        if name not in arrays:
            raise BadInput((name,), "the array is missing: expected x, the images, and t, their labels")
    refuse_polarity(body.query)
    pixels = pixels_of(arrays["x"], body.weights, ("x",), body.query.pixel_max)
    return Labelled(pixels, labels_of(arrays["t"], len(pixels), body.weights), body.parameters())


def pixels_of(
    array: NDArray[Any], weights: Weights, location: Location, pixel_max: float | None = None
) -> NDArray[Any]:
    """Bytes as they are, floats as float32, (n, features).

    pixel_max: what a white pixel is; by default 255 in whole numbers, 1 in floats.
    """
    if array.dtype.kind not in "iuf":
        raise BadInput(
            location, f"an array of {array.dtype}: expected uint8 or other whole numbers (0…255), or floats (0…1)"
        )
    flat = array.reshape(batch_shape(array.shape, weights, location))
    if flat.dtype != np.uint8 and flat.size * (4 + flat.dtype.itemsize) > MOST_CONVERTED_BYTES:
        raise BadInput(location, f"{flat.size:,} numbers of {flat.dtype} are too many at once: send uint8, or fewer")
    flat = np.ascontiguousarray(flat)  # or BLAS may add in another order: other last bits for the same numbers
    if array.dtype.kind != "f":
        if flat.dtype == np.uint8 and pixel_max != 1:
            return flat
        return checked_pixels(flat, pixel_max or 255, lambda n, i: (*location, n, i), "?pixel_max=255")
    with np.errstate(all="ignore"):  # some bits of a longdouble mean no number, which only a conversion finds out
        flat = flat.astype(np.float32 if flat.dtype.itemsize < 8 else np.float64, copy=False)
    return checked_pixels(flat, pixel_max or 1, lambda n, i: (*location, n, i), "?pixel_max=255")


def batch_shape(shape: tuple[int, ...], weights: Weights, location: Location) -> tuple[int, int]:
    """(n, features) for an array of images or of one image, with or without a channel axis."""
    features, image_shape = weights.input_size, weights.image_shape
    images: list[tuple[int, ...]] = [(features,)]
    if image_shape is not None:
        images += [image_shape, (*image_shape, 1), (1, *image_shape)]
    if shape in images:
        return 1, features
    if shape[1:] in images:
        if shape[0] == 0:
            raise BadInput(location, f"no images: an array of shape {shape}")
        return shape[0], features
    rows_and_columns = "" if image_shape is None else f", (n, {image_shape[0]}, {image_shape[1]})"
    expected = f"(n, {features}){rows_and_columns} or one image: {wanted(weights)}"
    raise BadInput(location, f"an array of shape {shape}: expected {expected}")


def labels_of(array: NDArray[Any], count: int, weights: Weights) -> NDArray[np.intp]:
    one_hot = array.ndim == 2 and array.dtype.kind in "iufb"
    if not one_hot and not (array.ndim == 1 and array.dtype.kind in "iuf"):
        raise BadInput(
            ("t",), f"an array of {array.dtype} of shape {array.shape}: expected (n,) class numbers or one-hot"
        )
    return checked_labels(array, count, weights.output_size, ("t",)).astype(np.intp)
