"""application/json: images as lists of numbers, or as pictures in base64."""

from typing import Any

import numpy as np

from model.weights_file import Weights
from service.decoders import pictures
from service.decoders.base64_text import picture_of
from service.decoders.checks import Images, Labelled, checked_labels, checked_pixels, refuse_polarity, wanted
from service.decoders.json_numbers import MOST_OTHERS, Numbers, numbers_of, read_numbers
from service.decoders.request_body import Body, P
from service.http.parsing import check_json, load, occurrences, validated
from service.http.problems import BadInput, Location
from service.schemas.requests import ImageParameters, ImagesRequest


def read_images(body: Body[Any]) -> Images:
    images, _, _ = read(body)
    return images


def read_labelled(body: Body[P]) -> Labelled[P]:
    images, fields, parameters = read(body)
    labels = checked_labels(fields.labels, len(images.pixels), body.weights.output_size, ("labels",))
    return Labelled(images.pixels, labels, parameters)


def read(body: Body[P]) -> tuple[Images, Any, P]:
    """The images, the other fields, and the parameters that these or the query have.

    Raises Problem.
    """
    data = body.request.body
    check_json(data)
    numbers = read_numbers(data, body.weights)
    if numbers is None:
        document = load(data)
        numbers = numbers_of(document, body.weights)
    if numbers is not None:
        return of_numbers(numbers, body)
    if len(data) > MOST_OTHERS and occurrences(data, b",") > MOST_OTHERS:
        raise BadInput((), f"expected images of {wanted(body.weights)}: to see which are not, send fewer at once")
    request: Any = validated(document, body.schemas.whole)
    parameters = body.parameters(request)
    return images_of(request, parameters, body.weights), request, parameters


def of_numbers(numbers: Numbers, body: Body[P]) -> tuple[Images, Any, P]:
    fields: Any = validated(numbers.fields, body.schemas.fields)
    parameters = body.parameters(fields)
    refuse_polarity(parameters)

    def locate(n: int, i: int) -> Location:
        pixel = divmod(i, (body.weights.image_shape or (1, 1))[1]) if n in numbers.in_rows else (i,)
        return ("image", *pixel) if numbers.single else ("images", n, *pixel)

    return Images(checked_pixels(numbers.values, parameters.pixel_max or 1, locate)), fields, parameters


def images_of(request: ImagesRequest, parameters: ImageParameters, weights: Weights) -> Images:
    pixel_max = parameters.pixel_max or 1
    if request.image is not None:
        images, one_image = [request.image], True
    else:
        images, one_image = request.images or [], False

    def base(n: int) -> Location:
        return ("image",) if one_image else ("images", n)

    def locate(n: int, i: int) -> Location:
        return (*base(n), *place(images[n], i))

    texts = {n: image for n, image in enumerate(images) if isinstance(image, str)}
    encoded = {base(n): picture_of(text, base(n)) for n, text in texts.items()}
    digits = pictures.digits_in(encoded, weights, parameters) if encoded else []
    if len(texts) == len(images):
        return Images.of(digits)
    refuse_polarity(parameters)
    if any(len(row) > 1 for row in digits):
        raise BadInput((), "several digits are read only where all images are pictures")
    flat = np.empty((len(images), weights.input_size), np.float64)
    for n, (digit,) in zip(texts, digits, strict=True):
        flat[n] = digit.pixels.ravel() * (pixel_max / 255)
    for n, image in enumerate(images):
        if n not in texts:
            flat[n] = flattened(image, weights, base(n))
    return Images(checked_pixels(flat, pixel_max, locate))


def place(image: Any, i: int) -> Location:
    """Where pixel i is in an image."""
    if not isinstance(image[0], list):
        return (i,)
    if not isinstance(image[0][0], list):
        return divmod(i, len(image[0]))
    return (0, *divmod(i, len(image[0][0]))) if len(image) == 1 else (*divmod(i, len(image[0])), 0)


def flattened(image: Any, weights: Weights, location: Location) -> list[float]:
    """The pixels in one list, of the number of the network's inputs."""
    if image and isinstance(image[0], list):
        if image[0] and isinstance(image[0][0], list):
            image = image[0] if len(image) == 1 else without_channels(image, location)
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


def without_channels(image: list[list[list[float]]], location: Location) -> list[list[float]]:
    """Rows of pixels, from rows of pixels that are lists of one number each."""
    for r, row in enumerate(image):
        for c, channels in enumerate(row):
            if len(channels) != 1:
                raise BadInput((*location, r, c), f"{len(channels)} channels: expected one, the pixel's brightness")
    return [[pixel for (pixel,) in row] for row in image]
