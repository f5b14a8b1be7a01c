"""Types that fields of requests have in common: images, labels, versions, and numbers that a query writes as text."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationInfo
from typing_extensions import TypeAliasType  # in typing from Python 3.12 on

from model.replay_memory import MOST_REHEARSED

MOST_VERSIONS_LISTED = 1000
MOST_EXAMPLES_GIVEN = 10_000
MOST_UNLEARNED = 10_000
"""Train-steps that one request may take out."""

MOST_AT_ONCE = 1000
"""Predictions that one request may keep, list or learn from."""

MOST_LABELS_LISTED = 1000
MOST_MODELS_LISTED = 1000

DEFAULT_MODEL = "default"
"""The model of the paths without a name."""

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
Certainty = Literal["certain", "if reachable", "known"]
"""Of which model has a name: as it is at this moment; the same, but as this process knows it where the database does
not answer; as this process knows it."""

LONGEST_KEY = 255
"""Characters of an Idempotency-Key."""

LONGEST_SOURCE = 100
"""Characters of who or what taught a step."""

LARGEST_VERSION = 2**63 - 1
"""The largest integer of a database."""

Pixel = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Pixels = Annotated[list[Pixel], Field(fail_fast=True)]

# These have names in the OpenAPI document, where the sizes of the served network are added.
FlatImage = TypeAliasType("FlatImage", Pixels)
Row = TypeAliasType("Row", Pixels)
Rows = TypeAliasType("Rows", Annotated[list[Row], Field(fail_fast=True)])
Channels = TypeAliasType(
    "Channels", Annotated[list[Annotated[list[Pixels], Field(fail_fast=True)]], Field(fail_fast=True)]
)


def _flat_or_rows(labels: Any) -> str:
    return "rows" if isinstance(labels, list) and labels and isinstance(labels[0], list) else "flat"


def _kind_of_image(image: Any) -> str:
    if isinstance(image, str):
        return "picture"
    if _flat_or_rows(image) == "flat":
        return "flat"
    return "rows" if _flat_or_rows(image[0]) == "flat" else "channels"


FLAT_OR_ROWS = ("flat", "rows", "channels", "picture")
"""Tags that pydantic adds to an error's location, and that mean nothing to a client."""

Image = TypeAliasType(
    "Image",
    Annotated[
        Annotated[FlatImage, Tag("flat")]
        | Annotated[Rows, Tag("rows")]
        | Annotated[Channels, Tag("channels")]
        | Annotated[str, Tag("picture")],
        Discriminator(_kind_of_image),
    ],
)
"""Pixels in one list, in rows, or in rows with a channel axis; or a picture file in base64 or as a data: URL."""


def _whole_floats_as_integers(labels: Any) -> Any:
    """7.0 is class 7: many libraries have labels as floats."""
    if isinstance(labels, list) and float in set(map(type, labels)):
        return [int(label) if type(label) is float and label.is_integer() else label for label in labels]
    return labels


Label = TypeAliasType("Label", Annotated[int, Field(strict=True, ge=0)])
ZeroOrOne = Annotated[Pixel, Field(json_schema_extra={"minimum": 0, "maximum": 1, "multipleOf": 1})]
ONE_ONE = {"contains": {"const": 1}, "maxContains": 1}
OneHot = TypeAliasType("OneHot", Annotated[list[ZeroOrOne], Field(fail_fast=True, json_schema_extra=ONE_ONE)])
Labels = Annotated[
    Annotated[list[Label], Field(fail_fast=True), Tag("flat")]
    | Annotated[list[OneHot], Field(fail_fast=True), Tag("rows")],
    Discriminator(_flat_or_rows),
    BeforeValidator(_whole_floats_as_integers),
]

TEXT = "text"
"""The validation context of queries and forms, where a number is text. In JSON, text is not a number."""

WHOLE_TEXT = re.compile(r"[0-9]{1,100}")
DECIMAL_TEXT = re.compile(r"[0-9]{0,50}\.?[0-9]{1,50}([eE][+-]?[0-9]{1,5})?")
"""As a person writes them: Python also accepts 1_000, +5, spaces and the digits of any script."""


def _whole_number(value: Any, info: ValidationInfo) -> Any:
    """In JSON, 2.0 is 2, as in JSON Schema."""
    if info.context != TEXT:
        return int(value) if type(value) is float and value.is_integer() else value
    if WHOLE_TEXT.fullmatch(value) is None:
        raise ValueError("expected a whole number, in the digits 0 to 9 alone")
    return int(value)


def _decimal_number(value: Any, info: ValidationInfo) -> Any:
    if info.context != TEXT:
        return value
    if DECIMAL_TEXT.fullmatch(value) is None:
        raise ValueError("expected a number, such as 0.02 or 2e-2")
    return float(value)


def _true_or_false(text: Any) -> bool:
    """Only as JSON writes it: pydantic also accepts 1, yes, on and t."""
    if text not in ("true", "false"):
        raise ValueError("expected true or false")
    return bool(text == "true")


def _white(pixel_max: float) -> float:
    if pixel_max not in (1, 255):
        raise ValueError("expected 1, or 255 if pixels are 0…255")
    return pixel_max


WHOLE, DECIMAL = BeforeValidator(_whole_number), BeforeValidator(_decimal_number)
"""Outside a strict int or float with its bounds: a number in JSON, or its text in a query or a form."""

TrueOrFalse = Annotated[bool, BeforeValidator(_true_or_false)]
"""In a query, where everything is text."""


def one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected text of one line")
    return text


def a_name(text: str) -> str:
    if not text.strip():
        raise ValueError("expected a name that is not blank")
    return one_line(text)


Source = Annotated[str, Field(min_length=1, max_length=LONGEST_SOURCE), AfterValidator(a_name)]

ModelName = Annotated[str, Field(pattern=f"^{MODEL_NAME.pattern}$")]
Side = Annotated[int, Field(strict=True, ge=1, le=9999)]
"""Rows or columns of an image."""

Version = Annotated[int, Field(strict=True, ge=1, le=LARGEST_VERSION), WHOLE]
Rehearse = Annotated[int, Field(strict=True, ge=0, le=MOST_REHEARSED), WHOLE]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True), DECIMAL]
"""A setting has the upper bound."""

PixelMax = Annotated[
    float, Field(strict=True), AfterValidator(_white), DECIMAL, Field(json_schema_extra={"enum": [1, 255]})
]


class Request(BaseModel):
    """An unknown field is refused: a misspelt one would silently have its default."""

    model_config = ConfigDict(extra="forbid")
