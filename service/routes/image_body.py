"""Bodies of images, as the OpenAPI document describes them, and images as answers."""

from typing import Any

from flask import Response
from numpy.typing import NDArray

from model.datasets import input_to_pixels
from model.weights_file import Weights
from service.decoders import IMAGE_DECODERS, IMAGES, LABELLED_DECODERS, BodySchemas
from service.decoders.explanation import png
from service.decoders.picture_kinds import TYPES
from service.http.endpoint import FORM, JSON, Content
from service.schemas.fields import Request

A_SEVEN = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAATklEQVR42tWOwQoAIAhDdfT/v2yXiJyZ0Km8BHu8NpEfzsarHKwxtupQGgf8"
    "BzdOinRN0qkpXBtxEAN0U3HajSDqnelEglaYKfRzCvO568PaCx8IDhMmAAAAAElFTkSuQmCC"
)
"""28 × 28 pixels."""


def of_images(schemas: BodySchemas, served: Weights, *others: type[Request]) -> dict[str, Content]:
    """A body of images, with labels unless it is for `IMAGES`: each content type that has a decoder, and an example
    that fits the network. others: alternatives in JSON."""
    example: dict[str, Any] = {"image": [0] * served.input_size if served.image_shape is None else A_SEVEN}
    if schemas is not IMAGES:
        example["labels"] = [7 if served.output_size > 7 else 0]
    return {
        **{name: Content() for name in (IMAGE_DECODERS if schemas is IMAGES else LABELLED_DECODERS)},
        JSON: Content((schemas.whole, *others), examples={"picture": example}),
        FORM: Content((schemas.form,), files="image", file_types=TYPES),
    }


def image_answer(pixels: NDArray[Any], served: Weights) -> Response:
    """One image, (features,), as a PNG of the network's image shape."""
    data = png(input_to_pixels(pixels).reshape(served.image_shape or (1, len(pixels))))
    return Response(data, mimetype="image/png", headers={"Cache-Control": "no-store"})
