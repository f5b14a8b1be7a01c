"""GET and PUT /weights."""

from functools import partial
from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import Field

from model import replay_memory, weights_file
from model.two_layer_net import Activation
from model.weights_file import Weights, WeightsError
from service.http.endpoint import Content, Endpoint, Link
from service.http.json_response import NPZ, npz_answer
from service.http.problems import BadInput, Kind, Problem
from service.http.request import request
from service.live.learner import etag_of
from service.live.service import Service
from service.routes.new_version import NewVersionEndpoint, if_match, once, version_answer
from service.routes.predict import report_staleness
from service.schemas.answers import VersionAnswer
from service.schemas.requests import PutWeightsQuery, WeightsQuery
from service.settings import Settings
from service.store.records import Version

RequiredETag = Annotated[str, Field(description="The required ETag: 412 if it is another one.")]
KnownETag = Annotated[str, Field(description="The ETag of what the client has: 304 if it is the same.")]
ETag = Annotated[str, Field(description="The ETag of these bytes.")]
ModelVersion = Annotated[int, Field(ge=1, description="The version.")]

MOST_MEMORY_BYTES = 2 * replay_memory.MOST_BYTES
"""Limit for a file's replay memory: the sample and the recent examples."""

PACKING_BYTES = 2**20
"""More than an .npz adds to the arrays in it."""


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("weights", __name__)
    report_staleness(routes, service)

    @routes.get("/weights")
    @Endpoint(
        "The weights of the newest version, or of another one",
        media_types=(NPZ,),
        errors=(404, 412, 503),
        headers={"If-None-Match": KnownETag, "If-Match": RequiredETag},
        given={"ETag": ETag, "X-Model-Version": ModelVersion},
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
    @NewVersionEndpoint(
        "A new version with weights from a file",
        VersionAnswer,
        body={NPZ: Content(), "application/octet-stream": Content()},
        errors=(409, 412, 503),
    )
    def put_weights(query: PutWeightsQuery) -> Response:
        """Accepts a file that GET returned."""
        prepare_for_weights(service.settings)
        return version_answer(once(service, partial(load, query)))

    def load(query: PutWeightsQuery, **conditions: Any) -> Version:
        try:
            return service.learner.load(posted_weights(service.settings, query.activation), **conditions)
        except WeightsError as error:
            raise BadInput((), str(error)) from None

    return routes


def prepare_for_weights(settings: Settings) -> None:
    """Before the body is read: a memory is not counted in its limit. The content type is ignored, since many clients
    upload a file without one; only a form is refused. Raises Problem."""
    if request.mimetype == "multipart/form-data":
        raise Problem(415, "unexpected form: send the file itself as the body, as curl -T weights.npz does")
    limit = settings.max_unpacked_bytes + MOST_MEMORY_BYTES + PACKING_BYTES
    if limit > settings.max_body_bytes:
        request.max_content_length, request.limit_setting = limit, "max_unpacked_bytes"


def posted_weights(settings: Settings, activation: Activation | None) -> Weights:
    """The body, a weights file. Raises WeightsError, Problem."""
    most_bytes = settings.max_unpacked_bytes
    weights = weights_file.from_bytes(request.body, most_bytes + MOST_MEMORY_BYTES, activation)
    size = sum(array.nbytes for array in weights.params.values())
    if size > most_bytes:
        raise WeightsError(f"in float32 the weights have {size} bytes, more than the limit of {most_bytes}")
    return weights
