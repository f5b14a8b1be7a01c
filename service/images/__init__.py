"""Any accepted body → pixels of shape (n, features), uint8 0…255 or float32 0…1, and the labels beside them.

A decoder is found by the body's content type; each stands in a file of its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flask import current_app

from model.weights import Weights
from service import metrics
from service.http.incoming import IncomingRequest
from service.http.problems import BadInput, Problem
from service.http.queries import mimetype_meant
from service.images import json_body, npy_body, picture_body
from service.images.batch import Images, Labelled
from service.images.body import IMAGES, LABELLED, TRAIN_STEP, Body, P, Takes
from service.schemas import ImageParameters
from service.settings import variable

__all__ = [
    "IMAGES",
    "LABELLED",
    "TRAIN_STEP",
    "Images",
    "Labelled",
    "Takes",
    "count_batch",
    "read_images",
    "read_labelled",
]


@dataclass(frozen=True)
class Decoder:
    """images: for a body of images; labelled: for one with labels too. None: the type is not for that."""

    images: Callable[[Body[Any]], Images] | None = None
    labelled: Callable[[Body[Any]], Labelled[Any]] | None = None


DECODERS = {
    "application/json": Decoder(json_body.read_images, json_body.read_labelled),
    "application/x-npy": Decoder(images=npy_body.read_images),
    "application/x-npz": Decoder(labelled=npy_body.read_labelled),
    **dict.fromkeys(picture_body.TYPES, Decoder(images=picture_body.read_images)),
    "multipart/form-data": Decoder(picture_body.read_multipart_images, picture_body.read_multipart_labelled),
}


IMAGE_DECODERS = {name: decoder.images for name, decoder in DECODERS.items() if decoder.images is not None}
LABELLED_DECODERS = {name: decoder.labelled for name, decoder in DECODERS.items() if decoder.labelled is not None}


def read_images(request: IncomingRequest, weights: Weights, query: ImageParameters) -> Images:
    """Raises Problem: 415, 422 or, for a body over the limit, 413."""
    images = IMAGE_DECODERS[_content_type(request, IMAGE_DECODERS)](Body(request, weights, IMAGES, query))
    count_batch(request, len(images.pixels))
    return images


def read_labelled(request: IncomingRequest, weights: Weights, takes: Takes, query: P) -> Labelled[P]:
    """takes: what may stand beside them. Raises Problem: 415, 422 or, for a body over the limit, 413."""
    labelled = LABELLED_DECODERS[_content_type(request, LABELLED_DECODERS)](Body(request, weights, takes, query))
    count_batch(request, len(labelled.labels))
    return labelled


def count_batch(request: IncomingRequest, count: int) -> None:
    """Raises Problem: 422 for more than may be."""
    most = current_app.config["MAX_IMAGES"]
    if count > most:
        raise BadInput((), f"{count:,} images: at most {most:,} are taken in one request ({variable('max_images')})")
    if count > 1 and request.url_rule is not None:
        batches_at(request.url_rule.rule).observe(count)


batches_at = lru_cache(maxsize=100)(metrics.BATCHES.labels)


def _content_type(request: IncomingRequest, accepted: Iterable[str]) -> str:
    stated: str = request.environ.get("CONTENT_TYPE", "")
    if stated in accepted:  # as it mostly is, without parameters to take off
        return stated
    mimetype = request.mimetype
    if mimetype in accepted:
        return mimetype
    if not mimetype and not request.content_length and "Transfer-Encoding" not in request.headers:
        raise BadInput((), "the request has no body: images are expected")
    raise Problem(
        415,
        f"the content type {mimetype or '(none)'} is not understood here: expected {', '.join(accepted)}"
        + mimetype_meant(mimetype),
        headers={"Accept": ", ".join(accepted)},
    )
