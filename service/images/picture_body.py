"""image/png and image/jpeg: one picture; multipart/form-data: one or more files named image, and fields beside them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from flask import current_app
from werkzeug.exceptions import RequestEntityTooLarge

from model.weights import Weights
from service.http.incoming import IncomingRequest
from service.http.problems import BadInput, Location
from service.http.queries import validated
from service.images.batch import Images, Labelled, checked_labels
from service.images.body import Body, P
from service.images.finding import Digit
from service.images.picture import Cost, header_and_cost, read_picture
from service.schemas import TEXT

TYPES = ("image/png", "image/jpeg", "image/jpg")
MOST_PICTURES = 20
"""In one request: what bounds the time. To find a digit takes some 25 ms, in noise four times that."""

LABEL = re.compile(r"([0-9]{1,9})(\.0*)?")

MOST_PARTS = 1000


def read_images(body: Body[Any]) -> Images:
    data = body.request.body
    if not data:
        raise BadInput((), "the request has no body, which is not a PNG or JPEG picture")
    return Images.of(digits_in({(): data}, body.weights))


def read_multipart_images(body: Body[Any]) -> Images:
    pictures = parts_of(body.request)
    fields_of(body)
    return Images.of(digits_in(pictures, body.weights))


def read_multipart_labelled(body: Body[P]) -> Labelled[P]:
    pictures = parts_of(body.request)
    parameters = fields_of(body)
    pixels = Images.of(digits_in(pictures, body.weights)).pixels
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
    if texts:
        message = "a text: pictures are sent as files, which have a file name; with curl: -F image=@seven.png"
        raise BadInput(("image",), message)
    for name in request.files:
        if name != "image":
            raise BadInput((name,), "no file of this name is read: expected pictures, as files named image")
    if not parts:
        raise BadInput(("image",), "no part of this name: expected one or more pictures, as files")
    return {("image", i): part.stream.read() for i, part in enumerate(parts)}


def fields_of(body: Body[P]) -> P:
    """The parameters that the form and the query give. Raises BadInput for a field that has no meaning here."""
    form = body.request.form
    for name, values in form.lists():
        if len(values) > 1 and name != "labels":
            raise BadInput((name,), "given more than once")
    return body.parameters(validated(form.to_dict(), body.takes.form, context=TEXT))


def digits_in(pictures: Mapping[Location, bytes], weights: Weights) -> list[Digit]:
    """What is found in pictures, by where they stand in the request."""
    most = min(MOST_PICTURES, current_app.config["MAX_IMAGES"])
    if len(pictures) > most:  # before any is decoded
        raise BadInput((), f"{len(pictures):,} pictures: at most {most:,} are taken in one request")
    cost = Cost(0)
    for location, picture in pictures.items():
        cost += header_and_cost(picture, location)[1]
        cost.check(location)
    shape = shape_of(weights)
    return [read_picture(picture, shape, location) for location, picture in pictures.items()]


def shape_of(weights: Weights) -> tuple[int, int]:
    if weights.image_shape is None:
        raise BadInput(
            (), f"the network takes {weights.input_size} numbers that are no square: send them as JSON or .npy"
        )
    return weights.image_shape
