"""image/png and image/jpeg: one picture; multipart/form-data: one or more files named image, and fields
labels and learning_rate."""

import re

import numpy as np
from werkzeug.exceptions import RequestEntityTooLarge

from model.weights import Weights
from service.http.incoming import IncomingRequest
from service.http.problems import BadInput
from service.http.queries import validated
from service.images.batch import Images, Labelled, checked_labels
from service.images.finding import Digit
from service.images.picture import MOST_PICTURE_PIXELS, picture_size, read_picture
from service.schemas import LabelledForm, Request

MOST_PARTS = 1000


def read_images(request: IncomingRequest, weights: Weights) -> Images:
    return Images.of([read_picture(request.body, shape_of(weights), ())])


def read_multipart_images(request: IncomingRequest, weights: Weights) -> Images:
    pictures = parts_of(request)
    validated(request.form.to_dict(), Request)
    return Images.of(digits_in(pictures, weights))


def read_multipart_labelled(request: IncomingRequest, weights: Weights) -> Labelled:
    pictures = parts_of(request)
    form = validated(request.form.to_dict(), LabelledForm)
    if len(request.form.getlist("learning_rate")) > 1:
        raise BadInput(("learning_rate",), "given more than once")
    pixels = Images.of(digits_in(pictures, weights)).pixels
    words = [word for field in request.form.getlist("labels") for word in re.split(r"[,\s]+", field.strip()) if word]
    for i, word in enumerate(words):
        if not re.fullmatch(r"[0-9]{1,9}", word):
            raise BadInput(("labels", i), f"{word[:20]!r}: expected a class number")
    labels = np.array([int(word) for word in words], np.int64)
    checked = checked_labels(labels, len(pixels), weights.output_size, ("labels",))
    return Labelled(pixels, checked, form.learning_rate)


def parts_of(request: IncomingRequest) -> list[bytes]:
    """The files named image; any other file is refused."""
    request.max_form_parts = MOST_PARTS
    try:
        parts = request.files.getlist("image")
    except RequestEntityTooLarge:
        raise BadInput((), f"more than {MOST_PARTS} parts, or a text of more than 500 kB") from None
    except ValueError as error:
        raise BadInput((), f"not multipart/form-data as it should be: {error}") from None
    if not parts:
        raise BadInput(("image",), "no part of this name: expected one or more pictures, as files")
    for name in request.files:
        if name != "image":
            raise BadInput((name,), "no file of this name is read: expected pictures, as files named image")
    return [part.stream.read() for part in parts]


def digits_in(pictures: list[bytes], weights: Weights) -> list[Digit]:
    budget = MOST_PICTURE_PIXELS
    for i, picture in enumerate(pictures):
        budget -= picture_size(picture, ("image", i))
        if budget < 0:
            raise BadInput(("image", i), f"the pictures have more than {MOST_PICTURE_PIXELS:,} pixels in all")
    shape = shape_of(weights)
    return [read_picture(picture, shape, ("image", i)) for i, picture in enumerate(pictures)]


def shape_of(weights: Weights) -> tuple[int, int]:
    if weights.image_shape is None:
        raise BadInput(
            (), f"the network takes {weights.input_size} numbers that are no square: send them as JSON or .npy"
        )
    return weights.image_shape
