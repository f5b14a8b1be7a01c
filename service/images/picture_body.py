"""image/png and image/jpeg: one picture; multipart/form-data: one or more parts named image, and labels."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from werkzeug.exceptions import RequestEntityTooLarge

from model.weights import Weights
from service.http.incoming import IncomingRequest
from service.http.problems import BadInput
from service.images.batch import Images, Labelled, checked_labels
from service.images.picture import MOST_PICTURE_PIXELS, picture_size, read_picture

MOST_PARTS = 1000


def read_images(request: IncomingRequest, weights: Weights) -> Images:
    return Images(read_picture(request.body, shape_of(weights), ())[np.newaxis])


def read_multipart_images(request: IncomingRequest, weights: Weights) -> Images:
    return Images(pictures_of(request, weights))


def read_multipart_labelled(request: IncomingRequest, weights: Weights) -> Labelled:
    pixels = pictures_of(request, weights)
    words = [word for field in request.form.getlist("labels") for word in re.split(r"[,\s]+", field.strip()) if word]
    for i, word in enumerate(words):
        if not re.fullmatch(r"[0-9]{1,9}", word):
            raise BadInput(("labels", i), f"{word[:20]!r}: expected a class number")
    labels = np.array([int(word) for word in words], np.int64)
    return Labelled(pixels, checked_labels(labels, len(pixels), weights.output_size, ("labels",)))


def pictures_of(request: IncomingRequest, weights: Weights) -> NDArray[Any]:
    request.max_form_parts = MOST_PARTS
    try:
        parts = request.files.getlist("image")
    except RequestEntityTooLarge:
        raise BadInput((), f"more than {MOST_PARTS} parts, or a text of more than 500 kB") from None
    except ValueError as error:
        raise BadInput((), f"not multipart/form-data as it should be: {error}") from None
    if not parts:
        raise BadInput(("image",), "no part of this name: expected one or more pictures, as files")
    pictures = [part.stream.read() for part in parts]
    budget = MOST_PICTURE_PIXELS
    for i, picture in enumerate(pictures):
        budget -= picture_size(picture, ("image", i))
        if budget < 0:
            raise BadInput(("image", i), f"the pictures have more than {MOST_PICTURE_PIXELS:,} pixels in all")
    shape = shape_of(weights)
    return np.stack([read_picture(picture, shape, ("image", i)) for i, picture in enumerate(pictures)])


def shape_of(weights: Weights) -> tuple[int, int]:
    if weights.image_shape is None:
        raise BadInput(
            (), f"the network takes {weights.input_size} numbers that are no square: send them as JSON or .npy"
        )
    return weights.image_shape
