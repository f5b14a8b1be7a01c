"""/openapi.json is held against the paths, and against what is answered."""

import io
from collections.abc import Iterator
from functools import reduce
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from pydantic import SecretStr

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from service.app import create_app
from service.http.openapi import methods_of, never_null
from service.http.problems import path_of
from service.settings import Settings
from tests.conftest import CLASSES, COLUMNS, FEATURES, ROWS, Client, as_json, random_batch

PAGES = {"/", "/docs", "/docs/<name>", "/openapi.json", "/playground/<name>", "/playground/network.json"}
NUMBERS = count()
HEALTH = {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/v2/models/twolayernet/ready"}
HEALTH |= {"/v2/models/twolayernet/versions/<model_version>/ready"}
TO_PREDICT = {"/predict", "/accuracy", "/v2", "/v2/models/twolayernet", "/v2/models/twolayernet/infer"}
TO_PREDICT |= {f"/v2/models/twolayernet/versions/<model_version>{rest}" for rest in ("", "/infer")}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """One service for all: what is said holds whatever came before."""
    folder = tmp_path_factory.mktemp("described")
    network = TwoLayerNet(FEATURES, 50, CLASSES, "he", seed=1, dtype=np.float32)
    weights_file.save(folder / "weights.npz", Weights(network.params, image_shape=(ROWS, COLUMNS)))
    store = f"sqlite:///{folder}/store.db"
    return Client(create_app(Settings(weights=folder / "weights.npz", store=store, models=folder / "models")))


@pytest.fixture
def settings(tmp_path: Path, settings: Settings) -> Settings:
    return settings.model_copy(update={"models": tmp_path / "models"})


@pytest.fixture(scope="module")
def document(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def path_to(path: str, prediction_id: str = "0" * 32, step: int = 2) -> str:
    path = path.replace("/examples/{model_version}/{index}", f"/examples/{step}/0")
    return path.replace("{prediction_id}", prediction_id).replace("{model_version}", "1")


def model_named(client: Client, method: str, path: str) -> str:
    """The path, with the name of a model that is there, or is not yet where one is made."""
    if "{name}" not in path:
        return path
    name = f"model-{next(NUMBERS)}"
    if method != "put":
        client.put(f"/models/{name}", json={"copy_of": "default"})
    return path.replace("{name}", name)


def send(client: Client, method: str, path: str, **options: Any) -> Any:
    return client.open(method, path_to(model_named(client, method, path)), **options)


def said_of(document: dict[str, Any], its: dict[str, Any]) -> dict[str, Any]:
    """What a reference refers to."""
    if "$ref" in its:
        for part in its["$ref"].removeprefix("#/").split("/"):
            document = document[part]
        return document
    return its


def check(document: dict[str, Any], operation: dict[str, Any], answer: Any) -> None:
    """The status is listed by name, and the answer has the content type, the headers and the form that are said."""
    said = said_of(document, operation["responses"][str(answer.status_code)])
    content = said.get("content", {})
    assert answer.mimetype in content if answer.data else not content
    for name, header in said.get("headers", {}).items():
        assert name in answer.headers or not said_of(document, header)["required"]
    if answer.is_json:
        schema = {**content[answer.mimetype]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(answer.json)


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")


def test_every_endpoint_is_described_and_no_other(client: Client, document: dict[str, Any]) -> None:
    rules = [rule for rule in client.app.url_map.iter_rules() if rule.rule not in PAGES]
    assert {(path, method) for method, path, _ in operations(document)} == {
        (path_of(rule.rule), method.lower()) for rule in rules for method in methods_of(rule)
    }


def test_every_example_gets_an_answer_of_the_form_that_is_said(settings: Settings) -> None:
    client = Client(create_app(settings))
    document = client.get("/openapi.json").json
    lesson = document["paths"]["/train-step"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for source in ("somebody", "tablet-7", "somebody"):  # what the examples of /unlearn and /relabel name
        client.post(f"/train-step?source={source}", json=lesson["picture"]["value"])
    sent = 0
    for method, path, operation in sorted(operations(document), key=lambda one: one[1] in ("/classes", "/rollback")):
        for media_type in operation.get("requestBody", {"content": {}})["content"].values():
            for example in media_type.get("examples", {}).values():
                schema = {**media_type["schema"], "components": document["components"]}
                Draft202012Validator(schema).validate(example["value"])
                answer = send(client, method, path, json=example["value"])
                assert answer.status_code == 200, answer.json
                check(document, operation, answer)
                sent += 1
    assert sent == 13


def test_what_takes_no_body_answers_in_the_form_that_is_said(client: Client, document: dict[str, Any]) -> None:
    step = client.post("/train-step", json={"image": [0] * FEATURES, "labels": [1]}).json["model_version"]
    image = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]["picture"]
    query = "remember=true&explain=true"
    answer = client.post(f"/predict?{query}", json=image["value"])
    check(document, document["paths"]["/predict"]["post"], answer)
    (prediction_id,) = answer.json["prediction_ids"]
    for _, path, operation in operations(document):
        if "get" in document["paths"][path] and operation is document["paths"][path]["get"]:
            answer = client.get(path_to(model_named(client, "get", path), prediction_id, step))
            assert answer.status_code == 200, path
            check(document, operation, answer)
    path = "/predictions/{prediction_id}"
    answer = client.delete(path_to(path, prediction_id))
    assert answer.status_code == 204
    check(document, document["paths"][path]["delete"], answer)


def value_of(expression: Any, answer: Any) -> Any:
    """What an OpenAPI runtime expression stands for."""
    if isinstance(expression, dict):
        return {name: value_of(part, answer) for name, part in expression.items()}
    if isinstance(expression, list):
        return [value_of(part, answer) for part in expression]
    kind, _, name = expression.partition(".")[2].partition("." if "header" in expression else "#")
    if kind == "header":
        return answer.headers[name]
    return reduce(lambda its, part: its[int(part) if part.isdecimal() else part], name[1:].split("/"), answer.json)


def test_every_link_leads_somewhere(client: Client, document: dict[str, Any]) -> None:
    at = {operation["operationId"]: (method, path, operation) for method, path, operation in operations(document)}
    weights = client.get("/weights").data
    followed = 0
    for name, (method, path, operation) in at.items():
        for link in operation["responses"].get("200", {}).get("links", {}).values():
            client.post("/train-step", json={"image": [0] * FEATURES, "labels": [1]})
            ids = client.post("/predict?remember=true", json={"images": [[0] * FEATURES] * 2}).json["prediction_ids"]
            body = {"put_weights": {"data": weights}, "rollback": {"json": {"model_version": 1}}}
            body["put_model"] = {"json": {"copy_of": "default"}}
            body["predict"] = {"json": {"image": [0] * FEATURES}}
            body["train_step"] = {"json": {"prediction_ids": ids[:1], "labels": [1]}}
            taught = client.post("/train-step", json={"image": [0] * FEATURES, "labels": [1]}).json["model_version"]
            body["unlearn"] = {"json": {"model_versions": [taught]}}
            body["add_class"] = {"json": {}}
            body["relabel"] = {"json": {"model_version": taught, "labels": [2]}}
            query = {
                "models_by_name": {"limit": 1},
                "predict": {"remember": "true"},
                "predictions": {"limit": 1},
                "versions": {"limit": 1},
            }
            answer = send(client, method, path, query_string=query.get(name), **body.get(name, {}))
            if name == "add_class":  # the weights file of below has the classes from before
                client.post("/rollback", json={"model_version": taught})
            method_to, path_there, to = at[link["operationId"]]
            given: dict[str, dict[str, Any]] = {part: {} for part in ("path", "query", "header")}
            for parameter, expression in link.get("parameters", {}).items():
                where, _, its = parameter.partition(".")
                given[where][its] = value_of(expression, answer)
            body_to = (
                {"json": value_of(link["requestBody"], answer)}
                if "requestBody" in link
                else body.get(link["operationId"], {})
            )
            said = client.open(
                method_to,
                path_there.format(**given["path"]),
                query_string=given["query"],
                headers=given["header"],
                **body_to,
            )
            assert said.status_code in (200, 204, 304), (name, link, said.text)
            check(document, to, said)
            followed += 1
    assert followed >= 20


def test_weights_that_were_got_can_be_put_as_is_said(client: Client, document: dict[str, Any]) -> None:
    got = client.get("/weights")
    headers = {"If-Match": got.headers["ETag"], "Idempotency-Key": "once"}
    operation = document["paths"]["/weights"]["put"]
    assert headers.keys() <= {parameter["name"] for parameter in operation["parameters"]}
    for content_type in operation["requestBody"]["content"]:
        check(document, operation, client.put("/weights", data=got.data, headers={"Content-Type": content_type}))
    check(document, operation, client.put("/weights", data=got.data, headers={"If-Match": '"another"'}))
    again = client.get("/weights", headers={"If-None-Match": "*"})
    assert again.status_code == 304
    check(document, document["paths"]["/weights"]["get"], again)
    check(document, operation, client.put("/weights", data=got.data, headers={"Idempotency-Key": "once"}))
    check(document, operation, client.put("/weights", data=b"", headers={"Idempotency-Key": "once"}))


def bad_input(operation: dict[str, Any]) -> int:
    return 422 if "422" in operation["responses"] else 400


def said_wrong(answer: Any) -> str:
    return str(answer.json["error"] if "error" in answer.json else answer.json["detail"])


def test_every_parameter_is_read_and_no_other_is_taken(client: Client, document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        answer = send(client, method, path, query_string={"nonsense": "1"})
        assert answer.status_code == bad_input(operation), path
        assert said_wrong(answer).startswith("query.nonsense: unknown 'nonsense'")
        check(document, operation, answer)
        for parameter in operation["parameters"]:
            if parameter["in"] != "query":
                continue
            name = parameter["name"]
            assert parameter["schema"].keys() & {"type", "enum"}, (path, name)
            text = "~" * 101  # longer than any text may be, and no number
            answer = send(client, method, path, query_string={name: text})
            assert answer.json["errors"][0]["loc"] == ["query", name], (path, name)
            assert "unknown" not in answer.json["errors"][0]["msg"], (path, name)


def test_the_bodies_that_are_said_are_those_that_are_read(client: Client, document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        if "requestBody" not in operation:
            continue
        types = set(operation["requestBody"]["content"])
        for content_type in types:
            answer = send(client, method, path, data=b"\x00", content_type=content_type)
            assert answer.status_code == bad_input(operation), (path, content_type)
            check(document, operation, answer)
        if "415" in operation["responses"]:
            answer = send(client, method, path, data=b"x", content_type="text/csv")
            assert answer.status_code == 415, path
            check(document, operation, answer)
            if "/v2" not in path:
                assert set(answer.headers.get("Accept", "application/json").split(", ")) == types


def test_no_operation_is_for_pages_of_other_origins(client: Client, document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        answer = send(client, method, path, headers={"Origin": "https://example.org"})
        assert answer.status_code == 403, path
        check(document, operation, answer)


def test_a_parameter_is_the_same_in_json_in_a_form_and_in_the_query(document: dict[str, Any]) -> None:
    operation = document["paths"]["/train-step"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    json = document["components"]["schemas"]["TrainStepRequest"]["properties"]
    in_query = [parameter for parameter in operation["parameters"] if parameter["in"] == "query"]
    names = {"pixel_max", "polarity", "learning_rate", "rehearse", "source"}
    assert {parameter["name"] for parameter in in_query} == names
    for parameter in in_query:
        name, its = parameter["name"], parameter["schema"]
        assert {**form[name], "examples": None} == {**its, "examples": None}
        assert never_null(json[name]) == its


@pytest.mark.parametrize("name", ["pixel_max", "learning_rate", "rehearse"])
def test_text_is_a_number_in_a_query_but_not_in_json(client: Client, name: str) -> None:
    example = {"image": [0] * FEATURES, "labels": [7]}
    assert client.post(f"/train-step?{name}=1", json=example).status_code == 200
    assert client.post("/train-step", json={**example, name: 1}).status_code == 200
    answer = client.post("/train-step", json={**example, name: "1"})
    assert (answer.status_code, answer.json["errors"][0]["loc"]) == (422, [name])


def test_the_sizes_are_those_of_the_served_network(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert (schemas["FlatImage"]["minItems"], schemas["FlatImage"]["maxItems"]) == (FEATURES, FEATURES)
    assert (schemas["Rows"]["maxItems"], schemas["Row"]["maxItems"]) == (ROWS, COLUMNS)
    assert (schemas["Label"]["maximum"], schemas["OneHot"]["maxItems"]) == (CLASSES - 1, CLASSES)


def test_a_body_of_each_content_type_is_taken(client: Client, document: dict[str, Any]) -> None:
    x, t = np.zeros((1, 784), np.uint8), np.array([7])
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, x)
    np.savez(npz, x=x, t=t)
    for path, content_type, body in (
        ("/predict", "application/x-npy", npy),
        ("/accuracy", "application/x-npz", npz),
        ("/train-step", "application/x-npz", npz),
    ):
        operation = document["paths"][path]["post"]
        assert content_type in operation["requestBody"]["content"]
        answer = client.post(path, data=body.getvalue(), content_type=content_type)
        assert answer.status_code == 200
        check(document, operation, answer)


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/predict?model_version=9999", {"json": {}}, 404),
        ("/accuracy?model_version=9999", {"json": {}}, 404),
        ("/rollback", {"json": {"model_version": 9999}}, 404),
        ("/unlearn", {"json": {"model_versions": [9999]}}, 422),
        ("/relabel", {"json": {"model_version": 9999, "labels": [0]}}, 422),
        ("/train-step", {"json": {"prediction_ids": ["x"], "labels": [1]}}, 409),
        ("/predict", {"data": b" " * (17 * 2**20), "content_type": "application/json"}, 413),
        ("/predict", {"json": {"images": [[0]]}, "headers": {"Content-Encoding": "br"}}, 415),
        ("/accuracy", {"json": {}, "headers": {"X-Min-Model-Version": "9999"}}, 503),
        ("/v2/models/twolayernet/infer", {"json": {}, "headers": {"X-Min-Model-Version": "9999"}}, 503),
        ("/v2/models/twolayernet/infer", {"data": b" " * (17 * 2**20)}, 413),
        ("/v2/models/twolayernet/versions/9999/infer", {"json": {}}, 404),
    ],
)
def test_an_error_is_among_those_that_are_said(
    client: Client, document: dict[str, Any], path: str, options: dict[str, Any], status: int
) -> None:
    answer = client.post(path, **options)
    assert answer.status_code == status
    said = path.partition("?")[0].replace("9999", "{model_version}")
    check(document, document["paths"][said]["post"], answer)


@pytest.mark.parametrize(
    ("keys", "is_open"),
    [({"api_key"}, PAGES | HEALTH | TO_PREDICT), ({"api_key", "api_key_predict"}, PAGES | HEALTH)],
)
def test_every_path_is_closed_by_a_key_but_for_those_named_here(
    settings: Settings, keys: set[str], is_open: set[str]
) -> None:
    update = {**dict.fromkeys(keys, SecretStr("a key")), "threads": 1}
    client = Client(create_app(settings.model_copy(update=update)))
    for rule in client.app.url_map.iter_rules():
        for method in methods_of(rule):
            refused = send(client, method, path_of(rule.rule).replace("{name}", "main.js")).status_code == 401
            assert refused == (rule.rule not in is_open), (method, rule.rule)


def test_an_endpoint_that_says_nothing_is_closed(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"api_key": SecretStr("a key")}))
    app.add_url_rule("/forgotten", view_func=lambda: "")
    assert Client(app).get("/forgotten").status_code == 401


@pytest.mark.parametrize("names", [("api_key",), ("api_key", "api_key_predict")])
def test_a_key_is_said_to_be_wanted_where_it_is(settings: Settings, names: tuple[str, ...]) -> None:
    keys = dict.fromkeys(names, SecretStr("a key"))
    client = Client(create_app(settings.model_copy(update=keys)))
    document = client.get("/openapi.json").json
    refused = 0
    for method, path, operation in operations(document):
        answer = send(client, method, path)
        wanted = operation.get("security") == [{"key": []}]
        assert (answer.status_code == 401) == wanted, path
        if wanted:
            check(document, operation, answer)
            refused += 1
    assert refused >= 10
    answer = client.get("/metrics", headers={"Authorization": "Bearer another"})
    check(document, document["paths"]["/metrics"]["get"], answer)
    assert answer.status_code == 401


def test_the_largest_learning_rate_is_that_of_the_settings(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"max_learning_rate": 0.25})))
    document = client.get("/openapi.json").json
    operation = document["paths"]["/train-step"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["learning_rate"]
    (query,) = (one["schema"] for one in operation["parameters"] if one["name"] == "learning_rate")
    schemas = [document["components"]["schemas"][name] for name in ("TrainStepRequest", "RememberedRequest")]
    in_json = [schema["properties"]["learning_rate"]["anyOf"][0] for schema in schemas]
    for schema in (form, query, *in_json):
        assert (schema["exclusiveMinimum"], schema["maximum"]) == (0, 0.25)
    for rate, status in ((0.25, 200), (0.2500001, 422)):
        x, t = random_batch(1)
        assert client.post("/train-step", json=as_json(x, t, learning_rate=rate)).status_code == status
        assert client.post(f"/train-step?learning_rate={rate}", json=as_json(x, t)).status_code == status


def test_the_examples_fit_a_network_of_another_shape(settings: Settings) -> None:
    network = TwoLayerNet(7, 5, 3, "he", seed=1, dtype=np.float32)
    weights_file.save(settings.weights, Weights(network.params))
    test_every_example_gets_an_answer_of_the_form_that_is_said(settings)


def test_it_says_where_the_service_is_mounted(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"prefix": "/models/digits", "models": None})))
    assert client.get("/models/digits/openapi.json").json["servers"] == [{"url": "/models/digits"}]
