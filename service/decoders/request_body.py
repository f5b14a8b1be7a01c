"""What a decoder receives: a request, and the schemas of what its body may have."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from model.weights_file import Weights
from service.http.problems import BadInput
from service.http.request import IncomingRequest
from service.schemas.fields import Request
from service.schemas.requests import (
    ImageParameters,
    ImagesFields,
    ImagesRequest,
    LabelledFields,
    LabelledForm,
    LabelledRequest,
    TrainStepFields,
    TrainStepForm,
    TrainStepRequest,
)


@dataclass(frozen=True)
class BodySchemas:
    """fields: of JSON without its images; whole: of JSON; form: of the fields of a form."""

    fields: type[ImagesFields]
    whole: type[ImagesRequest]
    form: type[ImageParameters]


IMAGES = BodySchemas(ImagesFields, ImagesRequest, ImageParameters)
LABELLED = BodySchemas(LabelledFields, LabelledRequest, LabelledForm)
TRAIN_STEP = BodySchemas(TrainStepFields, TrainStepRequest, TrainStepForm)


P = TypeVar("P", bound=ImageParameters)


@dataclass(frozen=True)
class Body(Generic[P]):
    """The body of a request. query: the parameters in its query."""

    request: IncomingRequest
    weights: Weights
    schemas: BodySchemas
    query: P

    def parameters(self, fields: Request | None = None) -> P:
        """Those of the query and those among the fields of the body. Raises BadInput for one that is in both."""
        known = type(self.query).model_fields
        names = () if fields is None else fields.__pydantic_fields_set__
        given = {name: getattr(fields, name) for name in names if name in known}
        if not given:
            return self.query
        for name in given.keys() & self.query.__pydantic_fields_set__:
            raise BadInput((name,), "given twice, in the body and in the query")
        return self.query.model_copy(update=given)
