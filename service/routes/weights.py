"""GET and PUT /weights."""

from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field

from model import memory
from model import weights as weights_file
from model.weights import WeightsError
from service.http.answers import NPZ, npz_answer
from service.http.incoming import request
from service.http.operation import Content, Link
from service.http.problems import BadInput, Kind, Problem
from service.live.learner import etag_of
from service.live.service import Service
from service.routes.answers import version_answer
from service.routes.endpoint import Endpoint
from service.routes.keys import CHANGE, idempotency_key, if_match
from service.routes.prediction import say_how_stale
from service.routes.versions import OF_NEW_VERSION
from service.schemas import PutWeightsQuery, VersionAnswer, WeightsQuery

ETagWanted = Annotated[str, Field(description="The ETag that is wanted: 412 where it is another one.")]
ETagKept = Annotated[str, Field(description="The ETag of what the client has: 304 where it is the same.")]
ETag = Annotated[str, Field(description="Of these bytes.")]
VersionAnswered = Annotated[int, Field(ge=1, description="The version.")]

MOST_MEMORY_BYTES = 2 * memory.MOST_BYTES
"""Of what a network remembers: the sample and the recent ones."""

PACKING_BYTES = 2**20
"""More than what an .npz adds to the arrays in it."""


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("weights", __name__)
    say_how_stale(routes, service)
    most_bytes = service.settings.max_unpacked_bytes

    @routes.get("/weights")
    @Endpoint(
        "The weights of the newest version, or of another one",
        media_types=(NPZ,),
        errors=(404, 412, 503),
        headers={"If-None-Match": ETagKept, "If-Match": ETagWanted},
        given={"ETag": ETag, "X-Model-Version": VersionAnswered},
        links=(
            Link("weights.put_weights", {"header.If-Match": "$response.header.ETag"}),
            Link("weights.get_weights", {"header.If-None-Match": "$response.header.ETag"}),
        ),
    )
    def get_weights(query: WeightsQuery) -> Response:
        version = query.model_version
        model = service.replica.newest() if version is None else service.replica.at(version)
        data = weights_file.to_bytes(model.weights)
        answer = npz_answer(data, f"weights-{model.version}.npz", **{"X-Model-Version": str(model.version)})
        answer.set_etag(etag_of(data))
        if "If-Match" not in request.headers:
            answer.make_conditional(request)
        elif (tags := if_match()) is not None and answer.get_etag()[0] not in tags:
            why = f"the ETag of version {model.version} is not the one in If-Match"
            raise Problem(412, why, kind=Kind.WEIGHTS_CHANGED)
        return answer

    @routes.put("/weights")
    @Endpoint(
        "A new version with weights from a file",
        VersionAnswer,
        body={NPZ: Content(), "application/octet-stream": Content()},
        errors=(409, 412, 503),
        headers=CHANGE,
        links=OF_NEW_VERSION,
    )
    def put_weights(query: PutWeightsQuery) -> Response:
        """A form is refused; else whatever the content type says, for clients that upload a file without one. A file
        that GET gave fits."""
        if request.mimetype == "multipart/form-data":
            raise Problem(415, "a form: expected the file itself as the body, as curl -T weights.npz sends it")
        with_memory = most_bytes + MOST_MEMORY_BYTES
        if with_memory + PACKING_BYTES > service.settings.max_body_bytes:
            request.max_content_length, request.limit_setting = with_memory + PACKING_BYTES, "max_unpacked_bytes"
        key = idempotency_key()
        if key is not None and (done := service.learner.answered(key)) is not None:
            return version_answer(done)
        try:
            weights = weights_file.from_bytes(request.body, with_memory, query.activation)
            size = sum(array.nbytes for array in weights.params.values())
            if size > most_bytes:
                raise WeightsError(f"in float32 the weights have {size} bytes, more than the limit of {most_bytes}")
            return version_answer(service.learner.load(weights, key, if_match()))
        except WeightsError as error:
            raise BadInput((), str(error)) from None

    return routes
