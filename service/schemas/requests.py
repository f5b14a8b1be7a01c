"""Bodies and queries of requests."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from model.growth import MOST_CLASSES
from model.two_layer_net import Activation
from model.untrained import MOST_HIDDEN
from model.weights_file import LONGEST_LABEL_NAME
from service.schemas.fields import (
    LARGEST_VERSION,
    MOST_AT_ONCE,
    MOST_EXAMPLES_GIVEN,
    MOST_LABELS_LISTED,
    MOST_MODELS_LISTED,
    MOST_UNLEARNED,
    MOST_VERSIONS_LISTED,
    WHOLE,
    Image,
    Labels,
    LearningRate,
    ModelName,
    PixelMax,
    Rehearse,
    Request,
    Side,
    Source,
    TrueOrFalse,
    Version,
    a_name,
    one_line,
)


class ImageParameters(Request):
    """Each may be in JSON, in a form or in the query, but only in one of them."""

    pixel_max: PixelMax | None = Field(
        None, description="The value of a white pixel: 1, or 255 if pixels are bytes. Not needed for pictures."
    )
    polarity: Literal["dark", "light"] | None = Field(
        None, description="Whether a picture's strokes are dark or light. By default, the service detects it."
    )


class StepParameters(ImageParameters):
    learning_rate: LearningRate | None = Field(None, description="Default: the setting.")
    rehearse: Rehearse | None = Field(
        None, description="How many examples of the replay memory to add for each posted one. Default: the setting."
    )
    source: Source | None = Field(None, description="Who or what teaches this, for GET /versions and POST /unlearn.")


class ImagesFields(ImageParameters):
    """The fields next to the images in JSON."""


class LabelledFields(ImagesFields):
    """The class of each image, as class numbers or as one-hot rows."""

    labels: Labels


class TrainStepFields(LabelledFields, StepParameters):
    """The class of each image, and how to learn it."""


def _some(images: list[Any]) -> list[Any]:
    if not images:
        raise ValueError("no images: expected at least 1")
    return images


class ImagesRequest(ImagesFields):
    """Images: a list of them, or one bare image."""

    model_config = ConfigDict(
        json_schema_extra={  # generators of clients turn oneOf into types without fields
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
            raise ValueError('expected either "images", a list of images, or "image", a single one')
        return self


class LabelledRequest(ImagesRequest, LabelledFields):
    """Images and the class of each."""


class TrainStepRequest(ImagesRequest, TrainStepFields):
    """Images, the class of each, and how to learn them."""


def _without_image_parameters(schema: dict[str, Any]) -> None:
    for name in ImageParameters.model_fields:
        del schema["properties"][name]


class RememberedRequest(TrainStepFields):
    """Predictions that were kept for labelling, and the class of each."""

    model_config = ConfigDict(json_schema_extra=_without_image_parameters)

    prediction_ids: Annotated[
        list[Annotated[str, Field(max_length=100)]],
        Field(min_length=1, max_length=MOST_AT_ONCE, fail_fast=True, json_schema_extra={"uniqueItems": True}),
    ]

    @model_validator(mode="before")
    @classmethod
    def _no_images(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and (others := {"images", "image", *ImageParameters.model_fields} & fields.keys()):
            raise ValueError(f'expected either images or "prediction_ids", not {min(others)!r} with these')
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
    model_config = ConfigDict(json_schema_extra={"required": ["labels"]})  # the decoder has a better message

    labels: str = Field(
        "",
        description="The class number of each picture, separated by commas; a JSON list such as [7, 1] works, too.",
        examples=["7"],
        json_schema_extra={"pattern": r"^[0-9]{1,9}(,[0-9]{1,9})*$"},
    )


def _harmless_examples(schema: dict[str, Any]) -> None:
    """/docs sends these examples unless the user changes them."""
    schema["required"] = ["labels"]
    schema["properties"]["learning_rate"]["examples"] = [0.04]
    schema["properties"]["rehearse"]["examples"] = [8]


class TrainStepForm(LabelledForm, StepParameters):
    model_config = ConfigDict(json_schema_extra=_harmless_examples)


class RollbackRequest(Request):
    model_version: Version


class UnlearnRequest(Request):
    """The train-steps of these versions; or those of a source, above `after` and below `before`."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["source"], "properties": {"source": {"type": "string"}}},
            "then": {"properties": {"model_versions": {"type": "null"}}},
            "else": {
                "required": ["model_versions"],
                "properties": {
                    "model_versions": {"type": "array"},
                    "after": {"type": "null"},
                    "before": {"type": "null"},
                },
            },
        }
    )

    model_versions: Annotated[list[Version], Field(min_length=1, max_length=MOST_UNLEARNED, fail_fast=True)] | None = (
        None
    )
    source: Source | None = None
    after: Annotated[int, Field(strict=True, ge=0, le=LARGEST_VERSION), WHOLE] | None = None
    before: Version | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "UnlearnRequest":
        if (self.model_versions is None) == (self.source is None):
            raise ValueError(
                'expected either "model_versions", a list of train-steps, or the "source" that taught them'
            )
        if self.source is None and not (self.after is self.before is None):
            raise ValueError('"after" and "before" are bounds of the steps of a "source": there is none')
        return self


class RelabelRequest(Request):
    """A train-step, and the class of each of its examples: class numbers or one-hot rows."""

    model_version: Version
    labels: Labels


class ClassRequest(Request):
    """label_name: of the new class, required where the classes have names."""

    label_name: Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL_NAME), AfterValidator(a_name)] | None = None


class LearningRequest(Request):
    """reason: for those who ask why learning is paused."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"state": {"const": "learning"}}},
            "then": {"properties": {"reason": {"type": "null"}}},
        }
    )

    state: Literal["paused", "learning"]
    reason: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(one_line)] | None = None

    @model_validator(mode="after")
    def _only_a_pause_has_a_reason(self) -> "LearningRequest":
        if self.reason is not None and self.state != "paused":
            raise ValueError('reason: only "paused" has one')
        return self


VERSION = "A version. Default: the newest."
NEXT_BEFORE = "next_before of the previous page."


class WeightsQuery(Request):
    model_version: Version | None = Field(None, description=VERSION)


class AccuracyQuery(WeightsQuery, ImageParameters):
    pass


class PredictQuery(AccuracyQuery):
    explain: TrueOrFalse = Field(False, description="Return which part of each picture was recognised.")
    several: TrueOrFalse = Field(False, description="Read all digits of a picture, from left to right.")
    remember: TrueOrFalse = Field(False, description="Keep the images for labelling, and return an id for each.")


class PutWeightsQuery(Request):
    activation: Activation | None = Field(None, description="For a file that does not record its own.")


class PredictionsQuery(Request):
    order: Literal["newest", "uncertain"] = Field(
        "newest", description="uncertain: those first whose two best classes are closest."
    )
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_AT_ONCE), WHOLE] = 100
    before: Annotated[str, Field(max_length=100)] | None = Field(None, description=NEXT_BEFORE)


class LabelsQuery(Request):
    order: Literal["suspicious"] = Field("suspicious", description="Those first that are probably wrong.")
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_LABELS_LISTED), WHOLE] = 100


class VersionsQuery(Request):
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_VERSIONS_LISTED), WHOLE] = 100
    before: Version | None = Field(None, description=NEXT_BEFORE)
    source: Source | None = Field(None, description="Only the train-steps that it taught.")


class ExamplesQuery(Request):
    after: Annotated[int, Field(strict=True, ge=0, le=LARGEST_VERSION), WHOLE] = Field(
        0, description="Return examples of later versions only."
    )
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_EXAMPLES_GIVEN), WHOLE] = Field(
        MOST_EXAMPLES_GIVEN, description="How many images; a train-step is never divided."
    )
    rehearsed: TrueOrFalse = Field(False, description="Add the examples that came from the replay memory.")


class UntrainedRequest(Request):
    """What an untrained network is like."""

    image_shape: tuple[Side, Side] = Field(description="Rows and columns of an image.")
    hidden: Annotated[int, Field(strict=True, ge=1, le=MOST_HIDDEN)] = Field(50, description="Hidden units.")
    classes: Annotated[int, Field(strict=True, ge=1, le=MOST_CLASSES)] | None = Field(
        None, description="How many classes, if they are numbers."
    )
    label_names: Annotated[list[str], Field(min_length=1, max_length=MOST_CLASSES)] | None = Field(
        None, description="The names of the classes, if they have names."
    )
    activation: Activation = "relu"
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _one_of_both(self) -> "UntrainedRequest":
        if (self.classes is None) == (self.label_names is None):
            raise ValueError('expected either "classes", a number, or "label_names", a list')
        return self


class ModelRequest(Request):
    """A model that begins with a version of another one, its weights and its memory, or with an untrained network."""

    copy_of: ModelName | None = Field(None, description="The name of the other one.")
    model_version: Version | None = Field(None, description="Of the other one. Default: its newest.")
    new: UntrainedRequest | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "ModelRequest":
        if (self.copy_of is None) == (self.new is None):
            raise ValueError('expected either "copy_of", the name of a model, or "new", an untrained network')
        if self.new is not None and self.model_version is not None:
            raise ValueError('"model_version" is only for "copy_of"')
        return self


class ModelsQuery(Request):
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_MODELS_LISTED), WHOLE] = Field(
        100, description="How many to list, at most."
    )
    after: Annotated[str, Field(max_length=63)] = Field("", description="The `next_after` of the page before.")
