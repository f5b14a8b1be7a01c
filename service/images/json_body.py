"""application/json: pixels as lists of numbers."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.weights import Weights
from service.http.incoming import IncomingRequest
from service.http.problems import BadInput, Location
from service.http.queries import parse, validated
from service.images.batch import (
    Images,
    Labelled,
    as_stored,
    checked_float_pixels,
    checked_labels,
    in_range,
    wanted,
)
from service.images.json_numbers import read_numbers
from service.schemas import (
    ImagesFields,
    ImagesRequest,
    TrainStepFields,
    TrainStepRequest,
)

AnyFields = TypeVar("AnyFields", bound=ImagesFields)


def read_images(request: IncomingRequest, weights: Weights) -> Images:
    pixels, _ = read(request.body, weights, ImagesFields, ImagesRequest)
    return Images(pixels)


def read_labelled(request: IncomingRequest, weights: Weights) -> Labelled:
    pixels, lesson = read(request.body, weights, TrainStepFields, TrainStepRequest)
    labels = checked_labels(lesson.labels, len(pixels), weights.output_size, ("labels",))
    return Labelled(pixels, labels, lesson.learning_rate)


def read(
    body: bytes, weights: Weights, fields: type[AnyFields], whole: type[ImagesRequest]
) -> tuple[NDArray[Any], AnyFields]:
    """The pixels as stored, and what stands beside them. whole: how pydantic sees the body with the images in it.

    Raises Problem.
    """
    if (numbers := read_numbers(body, weights)) is not None:
        values, others = numbers
        beside = validated(others, fields)
        if in_range(values, beside.pixel_max):
            return as_stored(values, beside.pixel_max), beside
    request: Any = parse(body, whole)
    return pixels_of(request, weights), request


def pixels_of(request: ImagesRequest, weights: Weights) -> NDArray[Any]:
    if request.image is not None:
        images, one_image = [request.image], True
    else:
        images, one_image = request.images or [], False

    def base(n: int) -> Location:
        return ("image",) if one_image else ("images", n)

    def locate(n: int, i: int) -> Location:
        first = images[n][0]
        return (*base(n), *divmod(i, len(first))) if isinstance(first, list) else (*base(n), i)

    flat = [flattened(image, weights, base(n)) for n, image in enumerate(images)]
    return checked_float_pixels(np.array(flat, np.float64), request.pixel_max, locate)


def flattened(image: Any, weights: Weights, location: Location) -> list[float]:
    """The pixels in one list, of the number that the network takes."""
    if image and isinstance(image[0], list):
        if weights.image_shape is not None:
            rows, columns = weights.image_shape
            if len(image) != rows:
                raise BadInput(location, f"{len(image)} rows: expected {wanted(weights)}")
            for r, row in enumerate(image):
                if len(row) != columns:
                    raise BadInput((*location, r), f"{len(row)} pixels in this row: expected {columns}")
        elif len({len(row) for row in image}) > 1:
            raise BadInput(location, "the rows have different lengths")
        image = [pixel for row in image for pixel in row]
    if len(image) != weights.input_size:
        raise BadInput(location, f"{len(image)} pixels: expected {wanted(weights)}")
    pixels: list[float] = image
    return pixels
