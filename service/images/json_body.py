"""application/json: images as lists of numbers, or as pictures in base64."""

import base64
import binascii
from typing import Any

import numpy as np

from model.weights import Weights
from service.http.problems import BadInput, Location
from service.http.queries import check_json, load, occurrences, validated
from service.images import picture_body
from service.images.batch import (
    Images,
    Labelled,
    checked_labels,
    checked_pixels,
    wanted,
)
from service.images.body import Body, P
from service.images.json_numbers import MOST_OTHERS, Numbers, numbers_of, read_numbers
from service.schemas import ImagesRequest

ESCAPES = {"%2B": "+", "%2F": "/", "%3D": "=", "%0A": "", "%0D": "", "%20": ""}
"""Of what base64 consists of."""


def read_images(body: Body[Any]) -> Images:
    images, _, _ = read(body)
    return images


def read_labelled(body: Body[P]) -> Labelled[P]:
    images, beside, parameters = read(body)
    labels = checked_labels(beside.labels, len(images.pixels), body.weights.output_size, ("labels",))
    return Labelled(images.pixels, labels, parameters)


def read(body: Body[P]) -> tuple[Images, Any, P]:
    """The images, what stands beside them, and the parameters that there or in the query are given.

    Raises Problem.
    """
    data = body.request.body
    check_json(data)
    numbers = read_numbers(data, body.weights)
    if numbers is None:
        document = load(data)
        numbers = numbers_of(document, body.weights)
    if numbers is not None:
        return taken(numbers, body)
    if len(data) > MOST_OTHERS and occurrences(data, b",") > MOST_OTHERS:
        raise BadInput((), f"expected images of {wanted(body.weights)}: to see which are not, send fewer at once")
    request: Any = validated(document, body.takes.whole)
    parameters = body.parameters(request)
    return images_of(request, parameters.pixel_max or 1, body.weights), request, parameters


def taken(numbers: Numbers, body: Body[P]) -> tuple[Images, Any, P]:
    beside: Any = validated(numbers.fields, body.takes.fields)
    parameters = body.parameters(beside)

    def locate(n: int, i: int) -> Location:
        pixel = divmod(i, (body.weights.image_shape or (1, 1))[1]) if n in numbers.in_rows else (i,)
        return ("image", *pixel) if numbers.single else ("images", n, *pixel)

    return Images(checked_pixels(numbers.values, parameters.pixel_max or 1, locate)), beside, parameters


def images_of(request: ImagesRequest, pixel_max: float, weights: Weights) -> Images:
    if request.image is not None:
        images, one_image = [request.image], True
    else:
        images, one_image = request.images or [], False

    def base(n: int) -> Location:
        return ("image",) if one_image else ("images", n)

    def locate(n: int, i: int) -> Location:
        return (*base(n), *place(images[n], i))

    texts = {n: image for n, image in enumerate(images) if isinstance(image, str)}
    pictures = {base(n): picture_of(text, base(n)) for n, text in texts.items()}
    digits = picture_body.digits_in(pictures, weights) if pictures else []
    if len(texts) == len(images):
        return Images.of(digits)
    flat = np.empty((len(images), weights.input_size), np.float64)
    for n, digit in zip(texts, digits, strict=True):
        flat[n] = digit.pixels.ravel() * (pixel_max / 255)
    for n, image in enumerate(images):
        if n not in texts:
            flat[n] = flattened(image, weights, base(n))
    return Images(checked_pixels(flat, pixel_max, locate))


def picture_of(text: str, location: Location) -> bytes:
    """The file in base64 or in a data: URL."""
    data = text
    if text[:5].lower() == "data:":
        head, comma, data = text[5:].partition(",")
        if not comma or not is_of_a_picture(head):
            raise BadInput(location, f"a data: URL of {head[:40]!r}: expected image/png;base64 or image/jpeg;base64")
        for escape, character in ESCAPES.items() if "%" in data else ():
            data = data.replace(escape, character).replace(escape.lower(), character)
    try:
        return base64.b64decode(data.encode("ascii").translate(None, b" \t\r\n\f\v"), validate=True)
    except (binascii.Error, ValueError):
        raise BadInput(
            location, f"the text {text[:20]!r} is no picture: expected a PNG or JPEG in base64, or a data: URL of one"
        ) from None


def is_of_a_picture(head: str) -> bool:
    """head: what stands before the comma of a data: URL."""
    kind = head[:100].lower()
    return kind.partition(";")[0] in picture_body.TYPES and kind.endswith(";base64")


def place(image: Any, i: int) -> Location:
    """Where pixel i stands in an image."""
    if not isinstance(image[0], list):
        return (i,)
    if not isinstance(image[0][0], list):
        return divmod(i, len(image[0]))
    return (0, *divmod(i, len(image[0][0]))) if len(image) == 1 else (*divmod(i, len(image[0])), 0)


def flattened(image: Any, weights: Weights, location: Location) -> list[float]:
    """The pixels in one list, of the number that the network takes."""
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
