"""GET and PUT /weights."""

from flask import Blueprint, Response

from model import memory
from model import weights as weights_file
from model.weights import WeightsError
from service.http.answers import npz_answer, version_answer
from service.http.incoming import request
from service.http.problems import BadInput, Problem
from service.http.queries import read_query
from service.live.learner import etag_of
from service.live.service import Service
from service.routes.keys import idempotency_key, if_match
from service.routes.prediction import say_how_stale
from service.schemas import PutWeightsQuery, WeightsQuery

MOST_MEMORY_BYTES = 2 * memory.MOST_BYTES
"""Of what a network remembers: the sample and the recent ones."""

PACKING_BYTES = 2**20
"""More than what an .npz adds to the arrays in it."""


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("weights", __name__)
    say_how_stale(routes, service)
    most_bytes = service.settings.max_unpacked_bytes

    @routes.get("/weights")
    def get_weights() -> Response:
        version = read_query(request, WeightsQuery).model_version
        model = service.replica.newest() if version is None else service.replica.at(version)
        data = weights_file.to_bytes(model.weights)
        answer = npz_answer(data, f"weights-{model.version}.npz", **{"X-Model-Version": str(model.version)})
        answer.set_etag(etag_of(data))
        if "If-Match" not in request.headers:
            answer.make_conditional(request)
        elif (tags := if_match()) is not None and answer.get_etag()[0] not in tags:
            raise Problem(412, f"the ETag of version {model.version} is not the one in If-Match")
        return answer

    @routes.put("/weights")
    def put_weights() -> Response:
        """A form is refused; else whatever the content type says, for clients that upload a file without one. A file
        that GET gave fits."""
        query = read_query(request, PutWeightsQuery)
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
