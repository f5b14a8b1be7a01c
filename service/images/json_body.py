"""application/json: pixels as lists of numbers."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from model.weights import Weights
from service.images.batch import Images, Labelled, checked_float_pixels, checked_labels, wanted
from service.problems import BadInput, Location, Problem
from service.schemas import FLAT_OR_ROWS, ImagesRequest, LabelledRequest, Request, TrainStepRequest

AnyRequest = TypeVar("AnyRequest", bound=Request)


def read_images(body: bytes, weights: Weights) -> Images:
    return Images(pixels_of(parse(body, ImagesRequest), weights))


def read_labelled(body: bytes, weights: Weights) -> Labelled:
    request = parse(body, TrainStepRequest)
    pixels = pixels_of(request, weights)
    return Labelled(pixels, labels_of(request, len(pixels), weights), request.learning_rate)


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


def labels_of(request: LabelledRequest, count: int, weights: Weights) -> NDArray[np.intp]:
    return checked_labels(request.labels, count, weights.output_size, ("labels",)).astype(np.intp)
