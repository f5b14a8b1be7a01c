"""Bad input gets a 4xx that says where and what was expected, and changes nothing."""

import io
import json
import math
from typing import Any

import numpy as np
import pytest
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from service.app import create_app
from service.settings import Settings
from tests.conftest import Client, as_json, random_batch, shared_client
from tests.service.drawing import drawn

client = shared_client

X, T = random_batch(2)
GOOD = as_json(X, T)
WHITE = [1.0] * 784


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def with_pixel(value: object) -> dict[str, Any]:
    return {"images": [WHITE, [*WHITE[:5], value, *WHITE[6:]]], "labels": [1, 2]}


def is_problem(answer: TestResponse, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.data
    assert answer.mimetype == "application/problem+json"
    problem: dict[str, Any] = json.loads(answer.data)
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


BAD_BODIES = [
    pytest.param("", [], "no body", id="no body"),
    pytest.param("{", [], "JSON", id="not JSON"),
    pytest.param("[]", [], "object", id="not an object"),
    pytest.param(without("images"), [], '"images"', id="missing images"),
    pytest.param(without("labels"), ["labels"], "required", id="missing labels"),
    pytest.param({"images": [], "labels": []}, ["images"], "no images: expected at least 1", id="empty list"),
    pytest.param({**GOOD, "image": WHITE}, [], "either", id="both image and images"),
    pytest.param({"images": [[]], "labels": [1]}, ["images", 0], "0 pixels: expected 784", id="empty image"),
    pytest.param(
        {"images": [WHITE, WHITE[1:]], "labels": [1, 2]}, ["images", 1], "783 pixels: expected 784", id="783 pixels"
    ),
    pytest.param(
        {"image": WHITE[1:], "labels": [1]}, ["image"], "783 pixels: expected 784", id="783 pixels, one image"
    ),
    pytest.param(
        {"images": [[[1.0] * 28] * 27], "labels": [1]},
        ["images", 0],
        "27 rows: expected 784 pixels (28 × 28)",
        id="27 rows",
    ),
    pytest.param(
        {"images": [[[1.0] * 28] * 27 + [[1.0] * 27]], "labels": [1]},
        ["images", 0, 27],
        "27 pixels in this row",
        id="ragged",
    ),
    pytest.param(with_pixel("1"), ["images", 1, 5], "number", id="string"),
    pytest.param(with_pixel(None), ["images", 1, 5], "number", id="null"),
    pytest.param(with_pixel(True), ["images", 1, 5], "number", id="true"),
    pytest.param(with_pixel([1]), ["images", 1, 5], "number", id="list in a flat image"),
    pytest.param(with_pixel(math.nan), ["images", 1, 5], "finite", id="NaN"),
    pytest.param(with_pixel(math.inf), ["images", 1, 5], "finite", id="Infinity"),
    pytest.param(with_pixel(-math.inf), ["images", 1, 5], "finite", id="-Infinity"),
    pytest.param(json.dumps(with_pixel(777)).replace("777", "1e999"), ["images", 1, 5], "finite", id="1e999"),
    pytest.param(with_pixel(-0.1), ["images", 1, 5], "-0.1: expected 0…1", id="negative"),
    pytest.param(with_pixel(200), ["images", 1, 5], 'for pixels 0…255 send "pixel_max": 255', id="0…255 sent as 0…1"),
    pytest.param(with_pixel(1.000002), ["images", 1, 5], "1.000002: expected 0…1", id="a little over"),
    pytest.param(with_pixel(-2e-6), ["images", 1, 5], "-2e-06: expected 0…1", id="a little under"),
    pytest.param({**with_pixel(300), "pixel_max": 255}, ["images", 1, 5], "300: expected 0…255", id="300 of 255"),
    pytest.param({"image": [[2.0] * 28] * 28, "labels": [1]}, ["image", 0, 0], "pixel_max", id="bytes in rows"),
    pytest.param({**GOOD, "pixel_max": 0}, ["pixel_max"], "expected 1, or 255", id="pixel_max 0"),
    pytest.param({**GOOD, "pixel_max": 1.5}, ["pixel_max"], "expected 1, or 255", id="pixel_max 1.5"),
    pytest.param({**GOOD, "pixel_max": 256}, ["pixel_max"], "expected 1, or 255", id="pixel_max 256"),
    pytest.param({**GOOD, "pixel_max": True}, ["pixel_max"], "number", id="pixel_max true"),
    pytest.param({**GOOD, "pixel_max": math.nan}, ["pixel_max"], "expected 1, or 255", id="pixel_max NaN"),
    pytest.param({**GOOD, "pixel_max": "255"}, ["pixel_max"], "number", id="pixel_max text"),
    pytest.param(
        {**GOOD, "pixelmax": 255},
        ["pixelmax"],
        "expected image, images, labels, learning_rate, pixel_max, polarity, rehearse, source (did you mean pixel_max?)",
        id="misspelt",
    ),
    pytest.param({**GOOD, "images": 5}, ["images"], "expected a list", id="images a number"),
    pytest.param({**GOOD, "images": {"0": WHITE}}, ["images"], "expected a list", id="images an object"),
    pytest.param({**GOOD, "labels": [1]}, ["labels"], "1 labels for 2 images", id="too few labels"),
    pytest.param({**GOOD, "labels": [1, 2, 3]}, ["labels"], "3 labels for 2 images", id="too many labels"),
    pytest.param({**GOOD, "labels": []}, ["labels"], "0 labels for 2 images", id="no labels"),
    pytest.param({**GOOD, "labels": [1, 10]}, ["labels", 1], "10: expected a class number, 0…9", id="label 10"),
    pytest.param({**GOOD, "labels": [1, 2**80]}, ["labels", 1], "expected a class number, 0…9", id="label 2**80"),
    pytest.param({**GOOD, "labels": [-1, 1]}, ["labels", 0], "expected 0 or more", id="label -1"),
    pytest.param({**GOOD, "labels": [1, 2.5]}, ["labels", 1], "whole number", id="label 2.5"),
    pytest.param({**GOOD, "labels": [1, "2"]}, ["labels", 1], "whole number", id="label text"),
    pytest.param({**GOOD, "labels": [[1, 0], [0, 1]]}, ["labels", 0], "expected 10", id="one-hot of two"),
    pytest.param({**GOOD, "labels": [[0.1] * 10] * 2}, ["labels", 0], "not a one-hot label", id="soft label"),
    pytest.param({**GOOD, "labels": [[1] * 10] * 2}, ["labels", 0], "not a one-hot label", id="many-hot label"),
    pytest.param({**GOOD, "learning_rate": -0.1}, ["learning_rate"], "expected more than 0", id="negative rate"),
    pytest.param({**GOOD, "learning_rate": 0}, ["learning_rate"], "expected more than 0", id="zero rate"),
    pytest.param({**GOOD, "learning_rate": math.inf}, ["learning_rate"], "not NaN or infinity", id="infinite rate"),
    pytest.param({**GOOD, "learning_rate": math.nan}, ["learning_rate"], "finite", id="NaN rate"),
    pytest.param({**GOOD, "learning_rate": 1e6}, ["learning_rate"], "expected 1 or less", id="absurd rate"),
    pytest.param({**GOOD, "learning_rate": "fast"}, ["learning_rate"], "number", id="rate text"),
]


@pytest.mark.parametrize(("body", "location", "message"), BAD_BODIES)
def test_a_bad_body_is_answered_with_where_and_what(
    client: Client, body: object, location: list[object], message: str
) -> None:
    data = body if isinstance(body, str) else json.dumps(body)
    problem = is_problem(client.post("/train-step", data=data, content_type="application/json"), 422)
    assert [mistake for mistake in problem["errors"] if mistake["loc"] == location and message in mistake["msg"]], (
        problem
    )
    assert message in problem["detail"] or len(problem["errors"]) > 1
    assert client.get("/versions").json["versions"][0]["model_version"] == 1


@pytest.mark.parametrize("path", ["/predict", "/accuracy", "/train-step"])
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_another_content_type_is_415_and_names_those_that_are_understood(
    client: Client, path: str, content_type: str
) -> None:
    problem = is_problem(client.post(path, data=json.dumps(GOOD), content_type=content_type), 415)
    assert "application/json" in problem["detail"]
    assert ("curl -d" in problem["detail"]) == (content_type == "application/x-www-form-urlencoded")


def test_what_only_a_train_step_has_is_not_passed_over_elsewhere(client: Client) -> None:
    problem = is_problem(client.post("/accuracy", json={**GOOD, "learning_rate": 0.1}), 422)
    assert problem["errors"][0]["loc"] == ["learning_rate"]
    assert "expected image, images, labels, pixel_max" in problem["detail"]


def test_accuracy_is_of_the_version_that_is_asked_for(client: Client) -> None:
    first = client.post("/accuracy", json=GOOD).json
    assert client.post("/train-step", json={**GOOD, "learning_rate": 0.5}).json["model_version"] == 2
    newest = client.post("/accuracy", json=GOOD).json
    assert (newest["model_version"], newest["loss"] == first["loss"]) == (2, False)
    assert client.post("/accuracy?model_version=1", json=GOOD).json == first
    assert client.post("/accuracy?model_version=2", json=GOOD).json == newest
    is_problem(client.post("/accuracy?model_version=3", json=GOOD), 404)


def form(fields: dict[str, Any]) -> dict[str, Any]:
    picture = io.BytesIO()
    drawn(7).save(picture, "PNG")  # noise would be refused
    return {"image": (io.BytesIO(picture.getvalue()), "seven.png"), **fields}


@pytest.mark.parametrize(
    ("path", "fields", "location", "message"),
    [
        ("/train-step", {"labels": "7", "learning-rate": "0.5"}, ["learning-rate"], "did you mean learning_rate?"),
        ("/train-step", {"labels": "7", "learning_rate": "fast"}, ["learning_rate"], "expected a number"),
        ("/train-step", {"labels": "7", "learning_rate": "11"}, ["learning_rate"], "expected 1 or less"),
        ("/train-step", {"labels": "7", "learning_rate": ["0.1", "0.2"]}, ["learning_rate"], "more than once"),
        ("/train-step?learning_rate=1", {"labels": "7", "learning_rate": "0.1"}, ["learning_rate"], "given twice"),
        ("/train-step", {"labels": "7", "other": (io.BytesIO(b"7"), "a.txt")}, ["other"], "no file of this name"),
        (
            "/accuracy",
            {"labels": "7", "learning_rate": "0.1"},
            ["learning_rate"],
            "expected labels, pixel_max, polarity",
        ),
        ("/accuracy", {"labels": "7", "pixel_max": "256"}, ["pixel_max"], "expected 1, or 255"),
        ("/accuracy?pixel_max=255", {"labels": "7", "pixel_max": "255"}, ["pixel_max"], "given twice"),
        ("/accuracy", {"labels": "7", "model_version": "1"}, ["model_version"], "unknown"),
        ("/train-step", {"label": "7"}, ["label"], "did you mean labels?"),
        ("/predict", {"labels": "7"}, ["labels"], "expected pixel_max"),
    ],
)
def test_a_field_of_a_form_is_not_passed_over(
    client: Client, path: str, fields: dict[str, Any], location: list[str], message: str
) -> None:
    problem = is_problem(client.post(path, data=form(fields)), 422)
    assert problem["errors"][0]["loc"] == location
    assert message in problem["detail"]


def test_a_form_has_a_place_for_the_learning_rate(client: Client) -> None:
    answer = client.post("/train-step", data=form({"labels": "7", "learning_rate": "5e-1"}))
    assert answer.json["learning_rate"] == 0.5


def test_a_body_over_the_limit_is_413(client: Client) -> None:
    is_problem(client.post("/predict", data=b" " * (16 * 2**20 + 1), content_type="application/json"), 413)


def test_no_body_and_no_content_type_is_422(client: Client) -> None:
    assert "no body" in is_problem(client.post("/predict"), 422)["detail"]


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/versions?limit=0", ["query", "limit"]),
        ("/versions?limit=many", ["query", "limit"]),
        ("/versions?limit=1001", ["query", "limit"]),
        ("/versions?before=-1", ["query", "before"]),
        ("/versions?befor=1", ["query", "befor"]),
        ("/versions?limit=1&limit=2", ["query", "limit"]),
    ],
)
def test_a_bad_query_is_answered_with_where(client: Client, path: str, location: list[str]) -> None:
    assert is_problem(client.get(path), 422)["errors"][0]["loc"] == location


def test_a_learning_rate_above_the_setting_is_answered_with_where(client: Client) -> None:
    in_query = is_problem(client.post("/train-step?learning_rate=1.5", json=GOOD), 422)
    assert in_query["errors"][0]["loc"] == ["query", "learning_rate"]
    in_body = is_problem(client.post("/train-step", json={**GOOD, "learning_rate": 1.5}), 422)
    assert in_body["errors"][0]["loc"] == ["learning_rate"]
    for problem in (in_query, in_body):
        assert problem["errors"][0]["msg"] == "expected 1 or less (TWOLAYERNET_MAX_LEARNING_RATE)"


def test_pixel_max_in_the_query_is_refused_with_prediction_ids(client: Client) -> None:
    lesson = {"prediction_ids": ["x"], "labels": [1]}
    problem = is_problem(client.post("/train-step?pixel_max=255", json=lesson), 422)
    assert problem["errors"][0]["loc"] == ["query", "pixel_max"]


def test_an_unexpected_error_names_the_request_in_the_log(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(create_app(settings))

    @client.app.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError

    problem = is_problem(client.get("/broken", headers={"X-Request-ID": "my-request"}), 500)
    assert problem["detail"] == "internal error; see the service's log (request ID my-request)"
    assert "my-request" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_the_framework_s_errors_are_problems_too(client: Client) -> None:
    is_problem(client.get("/nowhere"), 404)
    assert "POST" in client.get("/predict").headers["Allow"]
    is_problem(client.get("/predict"), 405)


@pytest.mark.parametrize("path", ["/predict/", "/Predict", "/train_step", "/nowhere"])
def test_a_path_that_does_not_exist_names_those_that_do(client: Client, path: str) -> None:
    detail = is_problem(client.post(path, json=GOOD), 404)["detail"]
    for rule in client.app.url_map.iter_rules():
        assert "<" in rule.rule or rule.rule in detail


@pytest.mark.parametrize(
    ("method", "path", "taken"), [("get", "/predict", {"POST"}), ("post", "/weights", {"GET", "PUT"})]
)
def test_another_method_names_those_that_are_taken(client: Client, method: str, path: str, taken: set[str]) -> None:
    answer = getattr(client, method)(path)
    detail = is_problem(answer, 405)["detail"]
    assert all(name in detail for name in taken)
    assert taken <= set(answer.headers["Allow"].split(", ")) <= taken | {"HEAD", "OPTIONS"}


def test_an_unforeseen_error_is_a_problem_that_gives_nothing_away(app: Flask) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("a secret")

    answer = Client(app).get("/broken")
    assert "secret" not in is_problem(answer, 500)["detail"]


def test_thousands_of_mistakes_get_a_short_answer(client: Client) -> None:
    answer = client.post("/predict", json={"images": [["x"] * 784] * 500})
    assert len(answer.data) < 2000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "images": json_values | st.just([WHITE]) | st.lists(st.just(WHITE), max_size=3),
        "image": json_values | st.just(WHITE),
        "labels": json_values | st.just([3]),
        "pixel_max": json_values,
        "learning_rate": json_values,
    },
)


@given(body=st.binary(max_size=60) | fields.map(lambda value: json.dumps(value).encode()))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
def test_no_body_however_malformed_gets_a_500(client: Client, body: bytes) -> None:
    for path in ("/predict", "/accuracy", "/train-step"):
        before = client.get("/readyz").json["model_version"]
        answer = client.post(path, data=body, content_type="application/json")
        assert answer.status_code in (200, 422), answer.data
        if answer.status_code == 422:
            is_problem(answer, 422)
            assert client.get("/readyz").json["model_version"] == before
        else:
            assert np.isfinite(answer.json["model_version"])
