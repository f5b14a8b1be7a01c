"""What a request may say and what an answer says, as pydantic models."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)
from typing_extensions import TypeAliasType  # in typing from Python 3.12 on

from model.memory import MOST_REHEARSED
from model.two_layer_net import Activation

MOST_VERSIONS_LISTED = 1000
MOST_EXAMPLES_GIVEN = 10_000
MOST_AT_ONCE = 1000
"""Predictions that are remembered, listed or learnt from in one request."""

LONGEST_KEY = 255
"""Characters of an Idempotency-Key."""

LARGEST_VERSION = 2**63 - 1
"""What a database can count to, and be asked for."""

Pixel = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Pixels = Annotated[list[Pixel], Field(fail_fast=True)]

# Those that have a name of their own in the OpenAPI document, where the sizes of the served network are put in.
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
"""Tags that pydantic puts into an error's location, and that its reader has no use for."""

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
"""Pixels in one list, in rows, in rows with a channel axis; or a PNG or JPEG in base64, or a data: URL of one."""


def _whole_floats_as_integers(labels: Any) -> Any:
    """7.0 is class 7: many a library has its labels as floats."""
    if isinstance(labels, list) and float in set(map(type, labels)):
        return [int(label) if type(label) is float and label.is_integer() else label for label in labels]
    return labels


Label = TypeAliasType("Label", Annotated[int, Field(strict=True, ge=0)])


ZeroOrOne = Annotated[Pixel, Field(json_schema_extra={"minimum": 0, "maximum": 1, "multipleOf": 1})]
A_SINGLE_ONE = {"contains": {"const": 1}, "maxContains": 1}
OneHot = TypeAliasType("OneHot", Annotated[list[ZeroOrOne], Field(fail_fast=True, json_schema_extra=A_SINGLE_ONE)])

TEXT = "text"
"""The context in which a query or a form is validated, where numbers are text; in JSON, text is no number."""


WHOLE_TEXT = re.compile(r"[0-9]{1,100}")
DECIMAL_TEXT = re.compile(r"[0-9]{0,50}\.?[0-9]{1,50}([eE][+-]?[0-9]{1,5})?")
"""As a person writes them: Python also takes 1_000, +5, spaces and the digits of any script."""


def _whole_number(value: Any, info: ValidationInfo) -> Any:
    """In JSON 2.0 is 2, as JSON Schema has it, too."""
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
    """Only as JSON writes it: pydantic also takes 1, yes, on, t."""
    if text not in ("true", "false"):
        raise ValueError("expected true or false")
    return bool(text == "true")


WHOLE, DECIMAL = BeforeValidator(_whole_number), BeforeValidator(_decimal_number)
"""Around a strict int or float with its bounds: a number in JSON, or its text in a query or a form."""

TrueOrFalse = Annotated[bool, BeforeValidator(_true_or_false)]
"""In a query, where everything is text."""

Version = Annotated[int, Field(strict=True, ge=1, le=LARGEST_VERSION), WHOLE]
Rehearse = Annotated[int, Field(strict=True, ge=0, le=MOST_REHEARSED), WHOLE]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True), DECIMAL]
"""A setting bounds it; here it is a number at all."""


LABELS_TEXT = r"^[0-9]{1,9}(,[0-9]{1,9})*$"


def _white(pixel_max: float) -> float:
    if pixel_max not in (1, 255):
        raise ValueError("expected 1, or 255 where pixels are 0…255")
    return pixel_max


PixelMax = Annotated[
    float, Field(strict=True), AfterValidator(_white), DECIMAL, Field(json_schema_extra={"enum": [1, 255]})
]


def _some(images: list[Any]) -> list[Any]:
    if not images:
        raise ValueError("no images: expected at least 1")
    return images


class Request(BaseModel):
    """A field that is not known is refused: it would be a misspelt one whose default is used without a word."""

    model_config = ConfigDict(extra="forbid")


class ImageParameters(Request):
    """Each may be given in JSON, in a form or in the query: in one of them, and in the query where the body has no
    place for it."""

    pixel_max: PixelMax | None = Field(
        None, description="What a white pixel is: 1, or 255 where pixels are bytes. A picture says it itself."
    )


class StepParameters(ImageParameters):
    learning_rate: LearningRate | None = Field(None, description="Without it, that of the settings.")
    rehearse: Rehearse | None = Field(
        None,
        description="Remembered examples that take part for each posted one; without it, what the settings say.",
    )


class ImagesFields(ImageParameters):
    """What may stand beside the images in JSON."""


class LabelledFields(ImagesFields):
    """The class of each image, as class numbers or as one-hot rows."""

    labels: Annotated[
        Annotated[list[Label], Field(fail_fast=True), Tag("flat")]
        | Annotated[list[OneHot], Field(fail_fast=True), Tag("rows")],
        Discriminator(_flat_or_rows),
        BeforeValidator(_whole_floats_as_integers),
    ]


class TrainStepFields(LabelledFields, StepParameters):
    """The class of each image, and how to learn it."""


class ImagesRequest(ImagesFields):
    """Images: a list of them, or one bare image."""

    model_config = ConfigDict(
        json_schema_extra={  # rather than oneOf, of which generators of clients make types without fields
            "if": {"required": ["image"], "properties": {"image": {"type": ["array", "string"]}}},
            "then": {"properties": {"images": {"type": "null"}}},
            "else": {"required": ["images"], "properties": {"images": {"type": "array"}}},
        }
    )

    images: (
        Annotated[list[Image], Field(fail_fast=True, json_schema_extra={"minItems": 1}), AfterValidator(_some)] | None
    ) = None
    image: Image | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "ImagesRequest":
        if (self.images is None) == (self.image is None):
            raise ValueError('expected either "images", a list of images, or "image", one of them')
        return self


class LabelledRequest(ImagesRequest, LabelledFields):
    """Images and the class of each."""


class TrainStepRequest(ImagesRequest, TrainStepFields):
    """Images, the class of each, and the rate to learn them with."""


class RememberedRequest(TrainStepFields):
    """Remembered predictions, and the class of each."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema["properties"].pop("pixel_max"))

    prediction_ids: Annotated[
        list[Annotated[str, Field(max_length=100)]],
        Field(min_length=1, max_length=MOST_AT_ONCE, fail_fast=True, json_schema_extra={"uniqueItems": True}),
    ]

    @model_validator(mode="before")
    @classmethod
    def _no_images_beside(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and (others := {"images", "image", "pixel_max"} & fields.keys()):
            raise ValueError(f'expected either images or "prediction_ids": {min(others)!r} stands beside these')
        return fields

    @model_validator(mode="after")
    def _each_once(self) -> "RememberedRequest":
        seen: set[str] = set()
        for at, prediction_id in enumerate(self.prediction_ids):
            if prediction_id in seen:
                raise ValueError(f"prediction_ids.{at}: {prediction_id} is named twice")
            seen.add(prediction_id)
        return self


class LabelledForm(ImageParameters):
    model_config = ConfigDict(json_schema_extra={"required": ["labels"]})  # whoever reads the form says it better

    labels: str = Field(
        "",
        description="The class number of each picture, with commas; as JSON has it, [7, 1], too.",
        examples=["7"],
        json_schema_extra={"pattern": LABELS_TEXT},
    )


def _do_no_harm(schema: dict[str, Any]) -> None:
    """Examples are what is sent by somebody who tries the form in /docs and changes nothing."""
    schema["required"] = ["labels"]
    schema["properties"]["learning_rate"]["examples"] = [0.04]
    schema["properties"]["rehearse"]["examples"] = [8]


class TrainStepForm(LabelledForm, StepParameters):
    model_config = ConfigDict(json_schema_extra=_do_no_harm)


class RollbackRequest(Request):
    model_version: Version


VERSION_MEANS = "Of this version; without it, of the newest."
NEXT_BEFORE_MEANS = "The next_before of the page before."


class AccuracyQuery(ImageParameters):
    model_version: Version | None = Field(None, description=VERSION_MEANS)


class PredictionsQuery(Request):
    order: Literal["newest", "uncertain"] = Field(
        "newest", description="uncertain: those first whose two best classes are closest."
    )
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_AT_ONCE), WHOLE] = 100
    before: Annotated[str, Field(max_length=100)] | None = Field(None, description=NEXT_BEFORE_MEANS)


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected text of one line")
    return text


class LearningRequest(Request):
    """reason: for whoever asks why it is paused."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"state": {"const": "learning"}}},
            "then": {"properties": {"reason": {"type": "null"}}},
        }
    )

    state: Literal["paused", "learning"]
    reason: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_one_line)] | None = None

    @model_validator(mode="after")
    def _only_a_pause_has_a_reason(self) -> "LearningRequest":
        if self.reason is not None and self.state != "paused":
            raise ValueError('reason: only "paused" has one')
        return self


class PredictQuery(AccuracyQuery):
    explain: TrueOrFalse = Field(False, description="Say also what was found in pictures.")
    remember: TrueOrFalse = Field(False, description="Keep the images for labels that come later.")


class WeightsQuery(Request):
    model_version: Version | None = Field(None, description=VERSION_MEANS)


class PutWeightsQuery(Request):
    activation: Activation | None = Field(None, description="Of a file that does not say its own.")


class ExamplesQuery(Request):
    after: Annotated[int, Field(strict=True, ge=0, le=LARGEST_VERSION), WHOLE] = Field(
        0, description="A version: the examples up to it are not sent."
    )
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_EXAMPLES_GIVEN), WHOLE] = Field(
        MOST_EXAMPLES_GIVEN, description="Of images, though a step is never divided."
    )
    rehearsed: TrueOrFalse = Field(False, description="Also the remembered examples that took part.")


class VersionsQuery(Request):
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_VERSIONS_LISTED), WHOLE] = 100
    before: Version | None = Field(None, description=NEXT_BEFORE_MEANS)


class PictureAnswer(BaseModel):
    """box: left, top, width and height of the digit, in pixels of the picture as it was sent, upright.

    image: what the network saw, as the data URL of a PNG, light on dark.
    """

    box: tuple[int, int, int, int]
    polarity: Literal["dark on light", "light on dark"]
    image: str


class PredictAnswer(BaseModel):
    """label_names: of the labels, where the weights file names its classes; pictures: one for each image, where the
    query says explain=true."""

    labels: list[int]
    probabilities: list[list[float]]
    model_version: int
    label_names: list[str] | None = None
    pictures: list[PictureAnswer] | None = None
    prediction_ids: list[str] | None = None


class AccuracyAnswer(BaseModel):
    """confusion_matrix: a row for each true class, a column for each predicted one; label_names: of these classes,
    where the weights file names them."""

    accuracy: float
    loss: float
    count: int
    confusion_matrix: list[list[int]]
    model_version: int
    label_names: list[str] | None = None


class TrainStepAnswer(BaseModel):
    """loss and accuracy are those of the posted examples before the step; learning_rate is what the gradient was
    multiplied with; rehearsed: how many remembered examples took part.

    clip_norm: the limit on the gradient's norm, where it cut in and made the learning rate smaller than was asked.
    """

    model_version: int
    loss: float
    accuracy: float
    gradient_norm: float
    learning_rate: float
    count: int
    rehearsed: int
    clip_norm: float | None = None


class VersionAnswer(BaseModel):
    """created_at: ISO 8601, UTC. What a kind of version does not have is null.

    event: there where the version is more than a change of the weights, with the reason for it.
    """

    model_version: int
    kind: Literal["load", "train-step", "rollback"]
    created_at: str
    count: int | None
    loss: float | None
    accuracy: float | None
    learning_rate: float | None
    source_version: int | None
    event: Literal["pause", "resume", "alarm"] | None = None
    reason: str | None = None


class VersionsAnswer(BaseModel):
    """next_before: what to ask for to see the next page, null on the last."""

    versions: list[VersionAnswer]
    next_before: int | None


class PredictionAnswer(BaseModel):
    """label: what was answered; created_at, expires_at: ISO 8601, UTC."""

    prediction_id: str
    created_at: str
    label: int
    probabilities: list[float]
    model_version: int
    expires_at: str


class PredictionsAnswer(BaseModel):
    """next_before: what to ask for to see the next page, null on the last."""

    predictions: list[PredictionAnswer]
    next_before: str | None


class FiguresAnswer(BaseModel):
    """accuracy, loss: means, null where there are no examples; each loss counts 100 at the most."""

    label: int
    count: int
    accuracy: float | None
    loss: float | None


class WindowAnswer(BaseModel):
    """Of the last labelled examples, `examples` of them at the most."""

    examples: int
    count: int
    accuracy: float | None
    loss: float | None
    by_class: list[FiguresAnswer]


class AlarmAnswer(BaseModel):
    """act: what it does; points: below the best at which it does it; examples: over which the accuracy is taken;
    accuracy: null until there have been that many since the last act; best_version: where it was at its best."""

    act: Literal["off", "pause", "rollback"]
    points: float
    examples: int
    accuracy: float | None
    best_accuracy: float | None
    best_version: int | None


class LearningAnswer(BaseModel):
    """best_window_accuracy: of the alarm's window, since the model was last loaded, rolled back, paused or resumed by
    somebody; label_names: of the classes, where the weights file names them."""

    state: Literal["paused", "learning"]
    reason: str | None
    windows: list[WindowAnswer]
    best_window_accuracy: float | None
    alarm: AlarmAnswer
    label_names: list[str] | None = None


class HealthAnswer(BaseModel):
    status: Literal["ok"]


class ReadyAnswer(BaseModel):
    """store: there where it was removed or replaced; staleness: for how many seconds nobody
    could tell whether there is a newer version."""

    status: Literal["ready"]
    model_version: int
    store: str | None = None
    staleness: float | None = None


class MistakeAnswer(BaseModel):
    """loc: a path into the request; msg: what was expected there."""

    loc: list[str | int]
    msg: str


class ProblemAnswer(BaseModel):
    """An error, as RFC 9457 has it. detail: what is wrong, for people; errors: where."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[MistakeAnswer]
