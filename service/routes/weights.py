"""GET and PUT /weights."""

import hashlib

from flask import Blueprint, Response

from model import weights as weights_file
from model.weights import WeightsError
from service.http.answers import npz_answer, version_answer
from service.http.incoming import request
from service.http.problems import BadInput
from service.http.queries import read_query
from service.live.service import Service
from service.schemas import WeightsQuery


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("weights", __name__)

    @routes.get("/weights")
    def get_weights() -> Response:
        version = read_query(request, WeightsQuery).model_version
        model = service.replica.newest() if version is None else service.replica.at(version)
        data = weights_file.to_bytes(model.weights)
        answer = npz_answer(data, f"weights-{model.version}.npz", **{"X-Model-Version": str(model.version)})
        answer.set_etag(hashlib.sha256(data).hexdigest()[:32])
        answer.make_conditional(request)
        return answer

    @routes.put("/weights")
    def put_weights() -> Response:
        """Whatever the content type says, for clients that upload a file without one."""
        try:
            return version_answer(service.learner.load(weights_file.from_bytes(request.body)))
        except WeightsError as error:
            raise BadInput((), str(error)) from None

    return routes
