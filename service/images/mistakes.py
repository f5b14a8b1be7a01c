"""JSON that can't be used → what was probably meant, where that can be told. It is looked at after the error only."""

from typing import Any

from service.http.problems import BadInput, Location
from service.images.batch import wanted
from service.images.body import IMAGES_MEANT, LABELS_MEANT, MEANT, Body, hint

NUMBERS = (int, float)


def meant(body: Body[Any], document: Any) -> BadInput | None:
    if isinstance(document, list):
        return BadInput((), f"a list: expected an object with {IMAGES_MEANT.removeprefix('expected ')}")
    if not isinstance(document, dict):
        return None
    known = body.takes.whole.model_fields
    for name in document:
        if name in known:
            continue
        asked = "labels" if MEANT.get(name) == LABELS_MEANT and "labels" not in known else name
        if (message := hint(asked, body.takes, body.query)) is not None:
            return BadInput((name,), message)
    return misplaced(document.get("images"), ("images",), body)


def misplaced(images: Any, location: Location, body: Body[Any]) -> BadInput | None:
    """One image where a list of them belongs."""
    if not isinstance(images, list) or not images:
        return None
    shape = body.weights.image_shape
    if isinstance(images[0], NUMBERS):
        return BadInput(
            location, f'one flat list of numbers: expected a list of images, each of {wanted(body.weights)}; "image" '
            "takes a single one"
        )  # fmt: skip
    if shape is not None and len(images) == shape[0] > 1 and all(is_row(row, shape[1]) for row in images):
        return BadInput(location, 'the rows of one image: expected a list of images; "image" takes a single one')
    return None


def is_row(row: Any, columns: int) -> bool:
    return isinstance(row, list) and len(row) == columns and isinstance(row[0], NUMBERS)
