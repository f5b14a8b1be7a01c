"""Any accepted body → pixels of shape (n, features), uint8 0…255 or float32 0…1, and the labels beside them.

A decoder is found by the body's content type; each stands in a file of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import flask

from model.weights import Weights
from service.images import json_body
from service.images.batch import Images, Labelled
from service.problems import BadInput, Problem

__all__ = ["Images", "Labelled", "read_images", "read_labelled"]


@dataclass(frozen=True)
class Decoder:
    """images: for a body of images; labelled: for one with labels too, None where the type has no place for them."""

    images: Callable[[bytes, Weights], Images]
    labelled: Callable[[bytes, Weights], Labelled] | None


DECODERS = {
    "application/json": Decoder(json_body.read_images, json_body.read_labelled),
}


def read_images(request: flask.Request, weights: Weights) -> Images:
    """Raises Problem: 415, 422 or, for a body over the limit, 413."""
    decoder = DECODERS[_content_type(request, list(DECODERS))]
    return decoder.images(request.get_data(), weights)


def read_labelled(request: flask.Request, weights: Weights) -> Labelled:
    """Raises Problem: 415 or 422."""
    labelled = {name: decoder.labelled for name, decoder in DECODERS.items() if decoder.labelled is not None}
    return labelled[_content_type(request, list(labelled))](request.get_data(), weights)


def _content_type(request: flask.Request, accepted: list[str]) -> str:
    mimetype = request.mimetype
    if mimetype in accepted:
        return mimetype
    if not mimetype and not request.content_length and "Transfer-Encoding" not in request.headers:
        raise BadInput((), "the request has no body: images are expected")
    raise Problem(
        415,
        f"the content type {mimetype or '(none)'} is not understood here: expected {', '.join(accepted)}",
        headers={"Accept": ", ".join(accepted)},
    )
