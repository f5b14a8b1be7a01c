"""Any accepted body → pixels of shape (n, features), uint8 0…255 or float32 0…1, and their labels.

The content type of the body selects the decoder. Each decoder has a file of its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flask import current_app

from model.weights_file import Weights
from service.decoders import json, npy, pictures
from service.decoders.checks import Images, Labelled
from service.decoders.picture_kinds import TYPES
from service.decoders.request_body import IMAGES, LABELLED, TRAIN_STEP, Body, BodySchemas, P
from service.http.parsing import mimetype_meant
from service.http.problems import BadInput, Problem
from service.http.request import IncomingRequest
from service.metrics import counters
from service.schemas.requests import ImageParameters
from service.settings import variable

__all__ = [
    "IMAGES",
    "LABELLED",
    "TRAIN_STEP",
    "BodySchemas",
    "Images",
    "Labelled",
    "count_batch",
    "read_images",
    "read_labelled",
]


@dataclass(frozen=True)
class Decoder:
    """images: for a body of images; labelled: for one with labels, too. None: the type does not have these."""

    images: Callable[[Body[Any]], Images] | None = None
    labelled: Callable[[Body[Any]], Labelled[Any]] | None = None


DECODERS = {
    "application/json": Decoder(json.read_images, json.read_labelled),
    "application/x-npy": Decoder(images=npy.read_images),
    "application/x-npz": Decoder(labelled=npy.read_labelled),
    **dict.fromkeys(TYPES, Decoder(images=pictures.read_images)),
    "multipart/form-data": Decoder(pictures.read_multipart_images, pictures.read_multipart_labelled),
}


IMAGE_DECODERS = {name: decoder.images for name, decoder in DECODERS.items() if decoder.images is not None}
LABELLED_DECODERS = {name: decoder.labelled for name, decoder in DECODERS.items() if decoder.labelled is not None}


def read_images(request: IncomingRequest, weights: Weights, query: ImageParameters) -> Images:
    """Raises Problem: 415, 422 or, for a body over the limit, 413."""
    images = IMAGE_DECODERS[_content_type(request, IMAGE_DECODERS)](Body(request, weights, IMAGES, query))
    count_batch(request, len(images.pixels))
    return images


def read_labelled(request: IncomingRequest, weights: Weights, schemas: BodySchemas, query: P) -> Labelled[P]:
    """schemas: what the body may have. Raises Problem: 415, 422 or, for a body over the limit, 413."""
    labelled = LABELLED_DECODERS[_content_type(request, LABELLED_DECODERS)](Body(request, weights, schemas, query))
    count_batch(request, len(labelled.labels))
    return labelled


def count_batch(request: IncomingRequest, count: int) -> None:
    """Raises Problem: 422 for too many."""
    most = current_app.config["MAX_IMAGES"]
    if count > most:
        raise BadInput((), f"{count:,} images: at most {most:,} are accepted in one request ({variable('max_images')})")
    if count > 1 and request.url_rule is not None:
        batches_at(request.url_rule.rule).observe(count)


batches_at = lru_cache(maxsize=100)(counters.BATCHES.labels)


def _content_type(request: IncomingRequest, accepted: Iterable[str]) -> str:
    stated: str = request.environ.get("CONTENT_TYPE", "")
    if stated in accepted:  # mostly, it has no parameters
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
