"""What a decoder gets: a request, and what its endpoint takes beside images."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from model.weights import Weights
from service.http.incoming import IncomingRequest
from service.http.problems import BadInput
from service.schemas import (
    ImageParameters,
    ImagesFields,
    ImagesRequest,
    LabelledFields,
    LabelledForm,
    LabelledRequest,
    Request,
    TrainStepFields,
    TrainStepForm,
    TrainStepRequest,
)


@dataclass(frozen=True)
class Takes:
    """The parameters of an endpoint, by where they stand.

    fields: beside the images in JSON; whole: those and the images; form: as multipart fields.
    """

    fields: type[ImagesFields]
    whole: type[ImagesRequest]
    form: type[ImageParameters]


IMAGES = Takes(ImagesFields, ImagesRequest, ImageParameters)
LABELLED = Takes(LabelledFields, LabelledRequest, LabelledForm)
TRAIN_STEP = Takes(TrainStepFields, TrainStepRequest, TrainStepForm)


P = TypeVar("P", bound=ImageParameters)


@dataclass(frozen=True)
class Body(Generic[P]):
    """The body of a request; query: what its query said."""

    request: IncomingRequest
    weights: Weights
    takes: Takes
    query: P

    def parameters(self, beside: Request | None = None) -> P:
        """The query's, and those that stand beside the images. Raises BadInput for one that is given in both."""
        known = type(self.query).model_fields
        fields = () if beside is None else beside.__pydantic_fields_set__
        said = {name: getattr(beside, name) for name in fields if name in known}
        if not said:
            return self.query
        for name in said.keys() & self.query.__pydantic_fields_set__:
            raise BadInput((name,), "given twice, in the body and in the query")
        return self.query.model_copy(update=said)
