"""application/json: pixels as lists of numbers."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from model.weights import Weights
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
from service.incoming import IncomingRequest
from service.problems import BadInput, Location, Problem
from service.schemas import (
    FLAT_OR_ROWS,
    ImagesFields,
    ImagesRequest,
    Request,
    TrainStepFields,
    TrainStepRequest,
)

AnyRequest = TypeVar("AnyRequest", bound=Request)
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


def validated(others: dict[str, Any], fields: type[AnyFields]) -> AnyFields:
    try:
        return fields.model_validate(others)
    except ValidationError as error:
        raise problem_of(error) from None


def parse(body: bytes, schema: type[AnyRequest]) -> AnyRequest:
    """The request, or 422 with where and what was expected."""
    if not body:
        raise BadInput((), "the request has no body: JSON is expected")
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise problem_of(error) from None


def problem_of(error: ValidationError, within: Location = ()) -> Problem:
    """The 422 for what pydantic found wrong; within: where in the request it looked."""
    mistakes = []
    for each in error.errors(include_url=False, include_input=False):
        location = within + tuple(part for part in each["loc"] if part not in FLAT_OR_ROWS)
        mistakes.append((location, each["msg"].removeprefix("Value error, ")))
    (location, message), *others = mistakes
    where = ".".join(str(part) for part in location)
    more = f" (and {len(others)} more)" if others else ""
    return Problem(422, f"{where}: {message}{more}" if where else f"{message}{more}", mistakes)


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
