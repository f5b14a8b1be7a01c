"""GET /models; GET, PUT, DELETE /models/{name}; POST /models/{name}/key; GET /v2/models."""

from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, redirect
from pydantic import Field
from werkzeug import Response as WerkzeugResponse

from model.untrained import untrained
from model.weights_file import Weights, WeightsError
from service.errors import UnknownModelError
from service.http.endpoint import HTML, JSON, Content, Endpoint, Link, asks_for_page
from service.http.json_response import NPZ, fields_of, json_answer, time_text
from service.http.parsing import read_json
from service.http.problems import BadInput, Problem
from service.http.request import request, this_request
from service.live.models import Models, Standing, is_name
from service.routes.open_inference import ServerEndpoint
from service.routes.open_inference.schemas import ModelNamesAnswer
from service.routes.pages import PLAYGROUND, file_in
from service.routes.weights import posted_weights, prepare_for_weights
from service.schemas.answers import ModelAnswer, ModelKeyAnswer, ModelsAnswer, SetAsideAnswer
from service.schemas.fields import DEFAULT_MODEL, ModelName
from service.schemas.requests import ModelRequest, ModelsQuery, PutWeightsQuery
from service.validation import shortened

PATH = {"name": Annotated[ModelName, Field(description="The model's name.", examples=["alice"])]}
NAME = "$response.body#/name"
LINKS = tuple(Link(f"models.{operation}", {"path.name": NAME}) for operation in ("delete_model", "renew_key"))
EXAMPLES = {
    "a copy": {"copy_of": DEFAULT_MODEL},
    "untrained": {"new": {"image_shape": [28, 28], "label_names": ["cat", "dog"]}},
}
BODIES = {JSON: Content((ModelRequest,), examples=EXAMPLES), NPZ: Content(), "application/octet-stream": Content()}
FILE_TYPES = {*BODIES, "", "application/x-www-form-urlencoded"}
"""Of a weights file: many clients upload a file without a type of its own."""


def blueprint(models: Models) -> Blueprint:
    routes = Blueprint("models", __name__)
    settings = models.default.settings

    @routes.get("/models")
    @Endpoint(
        "All models, by name",
        ModelsAnswer,
        errors=(404, 503),
        links=(Link("models.models_by_name", {"query.after": "$response.body#/next_after"}),),
        media_types=(HTML,),
        access="service",
        has_page=True,
    )
    def models_by_name(query: ModelsQuery) -> Response:
        """To a browser, the page that shows them, which asks for this."""
        if asks_for_page():
            answer = file_in(PLAYGROUND, "wall.html")
        else:
            found, next_after = models.page(query.limit, query.after)
            answer = json_answer(ModelsAnswer, models=[standing_fields(one) for one in found], next_after=next_after)
        answer.vary.add("Accept")
        return answer

    @routes.get("/models/<name>")
    @Endpoint(
        "One of the models", ModelAnswer, errors=(404, 503), path=PATH, links=LINKS, access="service", has_page=True
    )
    def one_model(name: str) -> WerkzeugResponse:
        """A browser is sent to the page of the model, which is at this address with a slash."""
        answer = (
            page_of(name) if asks_for_page() else json_answer(ModelAnswer, **standing_fields(models.standing(name)))
        )
        answer.headers["Vary"] = "Accept"
        return answer

    @routes.put("/models/<name>")
    @Endpoint(
        "Make a model: from a weights file, as a copy of another one, or untrained",
        ModelKeyAnswer,
        body=BODIES,
        errors=(404, 409, 503),
        path=PATH,
        links=LINKS,
        access="service",
    )
    def put_model(name: str, query: PutWeightsQuery) -> Response:
        if not is_name(name):
            raise BadInput(("name",), "expected up to 63 small letters, digits and hyphens, the first no hyphen")
        models.check_free(name)
        try:
            key = models.make(name, first_weights(query))
        except WeightsError as error:
            raise BadInput((), str(error)) from None
        return json_answer(ModelKeyAnswer, name=name, key=key)

    def first_weights(query: PutWeightsQuery) -> Weights:
        """Raises WeightsError, Problem."""
        if request.mimetype != JSON:
            if request.mimetype not in FILE_TYPES:
                accepted = ", ".join(BODIES)
                why = f"unknown content type {shortened(request.mimetype)}: expected {accepted}"
                raise Problem(415, why, headers={"Accept": accepted})
            prepare_for_weights(settings)
            if not request.body:
                raise BadInput((), 'the request has no body: expected a weights file, or JSON with "copy_of" or "new"')
            return posted_weights(settings, query.activation)
        if query.activation is not None:
            raise BadInput(("query", "activation"), "only for a weights file")
        body = read_json(this_request(), ModelRequest)
        if body.new is not None:
            new = body.new
            classes = new.label_names or new.classes or 0
            most = settings.max_unpacked_bytes
            return untrained(new.image_shape, new.hidden, classes, new.activation, new.seed, most_bytes=most)
        return models.weights_of(body.copy_of or DEFAULT_MODEL, body.model_version)

    @routes.get("/v2/models")
    @ServerEndpoint("The names of all models", ModelNamesAnswer, errors=(404, 503), access="service")
    def names() -> Response:
        return jsonify(models=models.names())

    @routes.delete("/models/<name>")
    @Endpoint("Set a model aside", SetAsideAnswer, errors=(404, 409, 503), path=PATH, access="service")
    def delete_model(name: str) -> Response:
        """Its store is kept until an operator removes it."""
        check_has_a_name(name)
        return json_answer(SetAsideAnswer, name=name, store=models.set_aside(name))

    @routes.post("/models/<name>/key")
    @Endpoint("A new key for a model", ModelKeyAnswer, errors=(404, 409, 503), path=PATH, access="service")
    def renew_key(name: str) -> Response:
        """The one before opens nothing any more."""
        check_has_a_name(name)
        return json_answer(ModelKeyAnswer, name=name, key=models.renew_key(name))

    return routes


def page_of(name: str) -> WerkzeugResponse:
    """Raises UnknownModelError for what is no name, and might lead to another host."""
    if not is_name(name):
        raise UnknownModelError(name)
    return redirect(f"{name}/", 308)


def standing_fields(standing: Standing) -> dict[str, Any]:
    fields = fields_of(ModelAnswer, standing)
    return fields if standing.created_at is None else fields | {"created_at": time_text(standing.created_at)}


def check_has_a_name(name: str) -> None:
    """Raises Problem for the default model."""
    if name == DEFAULT_MODEL:
        raise Problem(409, f"the model {DEFAULT_MODEL} is the service's own: its store and its key are in the settings")
