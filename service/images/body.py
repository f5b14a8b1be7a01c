"""What a decoder gets: a request, and what its endpoint takes beside images."""

from dataclasses import dataclass
from typing import Any

from model.weights import Weights
from service.http.incoming import IncomingRequest
from service.http.problems import BadInput
from service.schemas import (
    ImagesFields,
    ImagesForm,
    ImagesQuery,
    ImagesRequest,
    LabelledFields,
    LabelledForm,
    LabelledRequest,
    Request,
    TrainStepFields,
    TrainStepForm,
    TrainStepQuery,
    TrainStepRequest,
)


@dataclass(frozen=True)
class Takes:
    """The parameters of an endpoint, by where they stand.

    fields: beside the images in JSON; whole: those and the images; form: as multipart fields. The query has its own
    schema. A parameter of one name in several of them is one parameter, and comes from one of them.
    """

    fields: type[ImagesFields]
    whole: type[ImagesRequest]
    form: type[ImagesForm]


IMAGES = Takes(ImagesFields, ImagesRequest, ImagesForm)
LABELLED = Takes(LabelledFields, LabelledRequest, LabelledForm)
TRAIN_STEP = Takes(TrainStepFields, TrainStepRequest, TrainStepForm)


@dataclass(frozen=True)
class Body:
    """The body of a request; query: what its query said."""

    request: IncomingRequest
    weights: Weights
    takes: Takes
    query: ImagesQuery

    def parameters(self, beside: Request | None = None) -> dict[str, Any]:
        """What is said, by name, beside the images or in the query. Raises BadInput for what is said in both."""
        in_query = self.query.__pydantic_fields_set__
        if beside is None:
            return {name: getattr(self.query, name) for name in in_query}
        in_body = beside.__pydantic_fields_set__
        for name in in_body & in_query:
            raise BadInput((name,), "given twice, in the body and in the query")
        said = {name: getattr(beside, name) for name in in_body}
        return said | {name: getattr(self.query, name) for name in in_query} if in_query else said


def hint(name: str, takes: Takes, query: Request) -> str | None:
    """What was meant by a field that the endpoint does not take, if that can be told."""
    if name in type(query).model_fields:
        return f"its place is the query: ?{name}=…"
    if name == "labels":
        return "only images are taken here: /accuracy takes labels, too, and /train-step learns them"
    if name in TrainStepFields.model_fields or name in TrainStepQuery.model_fields:
        return "only a train-step has one"
    return MEANT.get(name)


IMAGES_MEANT = 'expected "images", a list of images, or "image", one of them'
LABELS_MEANT = 'expected "labels", a list with the class number of each image'
MEANT = dict.fromkeys(("instances", "inputs", "data", "x", "X", "pixels", "img"), IMAGES_MEANT)
MEANT |= dict.fromkeys(("label", "t", "y", "target", "targets"), LABELS_MEANT)
"""What a field is called elsewhere."""
