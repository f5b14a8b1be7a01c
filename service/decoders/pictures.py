"""image/png and its like: one picture; multipart/form-data: one or more files named image, and fields."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from flask import current_app
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from model.weights_file import Weights
from service.decoders.base64_text import picture_of
from service.decoders.checks import Images, Labelled, checked_labels
from service.decoders.digit_finder import Digit
from service.decoders.picture import Cost, header_and_cost, read_digits
from service.decoders.picture_kinds import UNREADABLE
from service.decoders.request_body import Body, P
from service.http.parsing import validated
from service.http.problems import BadInput, Location
from service.http.request import IncomingRequest
from service.schemas.fields import TEXT
from service.schemas.requests import ImageParameters, PredictQuery

MOST_PICTURES = 20
"""In one request. This bounds the time: a digit takes some 10 ms, noise four times that."""

LABEL = re.compile(r"([0-9]{1,9})(\.0*)?")

MOST_PARTS = 1000


def read_images(body: Body[Any]) -> Images:
    data = body.request.body
    if not data:
        raise BadInput((), f"the request has no body, which is {UNREADABLE}")
    return Images.of(digits_in({(): data}, body.weights, body.query))


def read_multipart_images(body: Body[Any]) -> Images:
    pictures = parts_of(body.request)
    return Images.of(digits_in(pictures, body.weights, fields_of(body)))


def read_multipart_labelled(body: Body[P]) -> Labelled[P]:
    pictures = parts_of(body.request)
    parameters = fields_of(body)
    pixels = Images.of(digits_in(pictures, body.weights, parameters)).pixels
    fields = body.request.form.getlist("labels")
    if not fields:
        raise BadInput(("labels",), "it is missing, but required: a field with the class number of each picture")
    labels = np.array([*numbers_of(fields)], np.int64)
    checked = checked_labels(labels, len(pixels), body.weights.output_size, ("labels",))
    return Labelled(pixels, checked, parameters)


def numbers_of(fields: Iterable[str]) -> Iterator[int]:
    """Class numbers as people write them: 7, or 7,1, or as JSON has them, [7, 1.0]. Raises BadInput."""
    words = (word for field in fields for word in field.strip().strip("[]").replace(",", " ").split())
    for i, word in enumerate(words):
        if (label := LABEL.fullmatch(word)) is None:
            raise BadInput(("labels", i), f"{word[:20]!r}: expected a class number")
        yield int(label[1])


def parts_of(request: IncomingRequest) -> dict[Location, bytes]:
    """The files named image; any other file is refused."""
    if not request.mimetype_params.get("boundary"):
        raise BadInput(
            ("Content-Type",), "multipart/form-data without its boundary: leave the header to what makes the form"
        )
    request.max_form_parts = MOST_PARTS
    try:
        parts, texts = request.files.getlist("image"), request.form.getlist("image")
    except RequestEntityTooLarge:
        message = f"more than {MOST_PARTS} parts, or a text, a part without a file name, of more than 500 kB"
        raise BadInput((), message) from None
    except ValueError:
        raise BadInput((), "not multipart/form-data: its parts are not where the boundary says") from None
    if texts and parts:
        raise BadInput(("image",), "some are files and some are texts: expected all of one sort")
    for name in request.files:
        if name != "image":
            raise BadInput((name,), "no file of this name is read: expected pictures, as files named image")
    if texts:
        return {("image", i): picture_in_field(text, ("image", i)) for i, text in enumerate(texts)}
    if not parts:
        raise BadInput(("image",), "no part of this name: expected one or more pictures, as files")
    return {("image", i): data_of(part) for i, part in enumerate(parts)}


def data_of(part: FileStorage) -> bytes:
    """Of a file, which may have been read before."""
    part.stream.seek(0)
    return part.stream.read()


def picture_in_field(text: str, location: Location) -> bytes:
    """A picture in base64, as a canvas returns it."""
    try:
        return picture_of(text, location)
    except BadInput:
        message = "a text: expected base64, or a file, which has a file name; with curl: -F image=@seven.png"
        raise BadInput(location, message) from None


def fields_of(body: Body[P]) -> P:
    """The parameters that the form and the query give. Raises BadInput for a field that has no meaning here."""
    form = body.request.form
    for name, values in form.lists():
        if len(values) > 1 and name not in ("labels", "image"):
            raise BadInput((name,), "given more than once")
    fields = {name: value for name, value in form.to_dict().items() if name != "image"}
    return body.parameters(validated(fields, body.schemas.form, context=TEXT))


def digits_in(pictures: Mapping[Location, bytes], weights: Weights, parameters: ImageParameters) -> list[list[Digit]]:
    """The digits in each picture: one, unless the query says several=true. pictures: by their place in the request."""
    most = min(MOST_PICTURES, current_app.config["MAX_IMAGES"])
    if len(pictures) > most:  # before any is decoded
        raise BadInput((), f"{len(pictures):,} pictures: at most {most:,} are read in one request")
    cost = Cost(0)
    for location, picture in pictures.items():
        cost += header_and_cost(picture, location)[-1]
        cost.check(location)
    shape = shape_of(weights)
    several = isinstance(parameters, PredictQuery) and parameters.several
    return [
        read_digits(picture, shape, location, parameters.polarity, several=several)
        for location, picture in pictures.items()
    ]


def shape_of(weights: Weights) -> tuple[int, int]:
    if weights.image_shape is None:
        raise BadInput(
            (), f"the network has {weights.input_size} inputs, which are no square: send them as JSON or .npy"
        )
    return weights.image_shape
