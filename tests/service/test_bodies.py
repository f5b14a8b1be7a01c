"""Bodies as people have them: packed, with pictures as texts, with parameters wherever there is a place, and by mistake."""

import base64
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model import TwoLayerNet, weights_file
from service.app import create_app
from service.settings import Settings
from tests.conftest import FEATURES, Client, as_json, random_batch, shared_client
from tests.service.drawing import drawn, encoded
from tests.service.test_arrays import NPY, npy
from tests.service.test_bad_input import is_problem

client = shared_client

X, T = random_batch(3)
JSON = "application/json"
SEVEN, ONE = encoded(drawn(7)), encoded(drawn(1), "JPEG")
PATHS = ["/predict", "/accuracy", "/train-step"]


def body_of(path: str, x: Any = X, **more: Any) -> dict[str, Any]:
    """What that endpoint takes."""
    return {
        "images": np.asarray(x).tolist(),
        "pixel_max": 255,
        **({} if path == "/predict" else {"labels": T.tolist()}),
        **more,
    }


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip in two members": ("GZIP", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
}


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("path", PATHS)
def test_a_packed_body_is_answered_as_it_is_unpacked(client: Client, path: str, kind: str) -> None:
    coding, pack = PACKERS[kind]
    data = pack(json.dumps(body_of(path)).encode())
    answer = client.post(path, data=data, content_type=JSON, headers={"Content-Encoding": coding})
    if path == "/train-step":
        assert answer.json["model_version"] == 2
    else:
        assert answer.json == client.post(path, json=body_of(path)).json


def test_arrays_and_weights_may_be_packed_too(client: Client) -> None:
    packed = {"Content-Encoding": "gzip"}
    array = client.post("/predict", data=gzip.compress(npy(X)), content_type=NPY, headers=packed)
    assert array.json == client.post("/predict", json=as_json(X)).json
    weights = client.get("/weights").data
    assert client.put("/weights", data=gzip.compress(weights), headers=packed).json["model_version"] == 2
    assert client.get("/weights").data == weights
    rollback = gzip.compress(b'{"model_version": 1}')
    assert client.post("/rollback", data=rollback, content_type=JSON, headers=packed).json["model_version"] == 3


def test_pictures_and_forms_are_not_packed_once_more(client: Client) -> None:
    for kind in ("image/png", "image/jpeg", "multipart/form-data; boundary=B"):
        packed = {"Content-Encoding": "gzip"}
        problem = is_problem(client.post("/predict", data=gzip.compress(SEVEN), content_type=kind, headers=packed), 415)
        assert "Content-Encoding is for JSON and arrays" in problem["detail"]


def test_packed_or_not_the_same_content_is_the_same_request(client: Client) -> None:
    """A client, or a proxy, may pack a body the second time."""
    data = json.dumps(body_of("/train-step")).encode()
    once = {"Idempotency-Key": "k"}
    first = client.post("/train-step", data=data, content_type=JSON, headers=once)
    again = client.post(
        "/train-step", data=gzip.compress(data), content_type=JSON, headers={**once, "Content-Encoding": "gzip"}
    )
    assert (first.status_code, again.data) == (200, first.data)
    other = gzip.compress(data + b" ")
    is_problem(
        client.post("/train-step", data=other, content_type=JSON, headers={**once, "Content-Encoding": "gzip"}), 409
    )


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "\xff"])
def test_another_coding_is_415_and_names_the_two(client: Client, coding: str) -> None:
    for method, path in (("post", "/train-step"), ("post", "/predict"), ("put", "/weights")):
        answer = getattr(client, method)(path, data=b"x", content_type=JSON, headers={"Content-Encoding": coding})
        assert "expected gzip, deflate or none" in is_problem(answer, 415)["detail"]
        assert answer.headers["Accept-Encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", b"{}"),
        ("gzip", gzip.compress(b"{}")[:-1]),
        ("gzip", gzip.compress(b"{}") + b"x"),
        ("gzip", zlib.compress(b"{}")),
        ("deflate", gzip.compress(b"{}")),
        ("deflate", zlib.compress(b"{}") + b"x"),
        ("deflate", zlib.compress(b"{}")[:-1]),
    ],
    ids=str.split("plain cut longer zlib gzip longer-zlib cut-zlib"),
)
def test_a_body_that_is_not_packed_as_it_says_is_422(client: Client, coding: str, data: bytes) -> None:
    answer = client.post("/predict", data=data, content_type=JSON, headers={"Content-Encoding": coding})
    assert f"the body is not valid {coding} data" in is_problem(answer, 422)["detail"]


def test_a_packed_body_larger_than_a_piece_is_unpacked_whole(client: Client) -> None:
    x, _ = random_batch(300)
    for packed in (gzip.compress(npy(x)), gzip.compress(npy(x)[:99]) + gzip.compress(npy(x)[99:])):
        answer = client.post("/predict", data=packed, content_type=NPY, headers={"Content-Encoding": "gzip"})
        assert len(answer.json["labels"]) == 300


def test_as_many_pictures_are_taken_in_json_as_in_a_form(client: Client) -> None:
    seven = base64.b64encode(SEVEN).decode()
    problem = is_problem(client.post("/predict", json={"images": [seven] * 21}), 422)
    assert problem["errors"] == [{"loc": [], "msg": "21 pictures: at most 20 are read in one request"}]


def test_a_length_of_any_number_of_digits_is_answered(client: Client) -> None:
    answer = client.post("/predict", environ_overrides={"CONTENT_LENGTH": "9" * 5000, "wsgi.input_terminated": True})
    is_problem(answer, 422)


def bomb(size: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    piece = bytes(2**20)
    return b"".join([*(packer.compress(piece) for _ in range(size >> 20)), packer.flush()])


def test_a_bomb_is_413_and_is_not_unpacked(client: Client) -> None:
    import tracemalloc

    data = bomb(160 * 2**20)
    assert len(data) < 400_000
    tracemalloc.start()
    answer = client.post("/predict", data=data, content_type=JSON, headers={"Content-Encoding": "gzip"})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    problem = is_problem(answer, 413)
    assert (
        "unpacks to more than the limit of 16777216 bytes, which is set with TWOLAYERNET_MAX_BODY_BYTES"
        in problem["detail"]
    )
    assert most < 40 * 2**20
    answer = client.put("/weights", data=data, headers={"Content-Encoding": "gzip"})
    assert "TWOLAYERNET_MAX_UNPACKED_BYTES" in is_problem(answer, 413)["detail"]


def test_413_says_the_limit_and_its_setting(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"max_body_bytes": 2000})))
    answer = client.post("/predict", json=body_of("/predict"))
    assert "the limit of 2000 bytes, which is set with TWOLAYERNET_MAX_BODY_BYTES" in is_problem(answer, 413)["detail"]


# Pictures as texts


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


PICTURE_TEXTS = {
    "base64": (base64_of(SEVEN), SEVEN),
    "base64 in lines": (base64.encodebytes(SEVEN).decode(), SEVEN),
    "a canvas' data URL": (f"data:image/png;base64,{base64_of(SEVEN)}", SEVEN),
    "a JPEG": (f"data:image/jpeg;base64,{base64_of(ONE)}", ONE),
    "a JPG, so called": (f"data:image/jpg;base64,{base64_of(ONE)}", ONE),
    "base64 without its padding": (base64_of(ONE).rstrip("="), ONE),
    "URL-safe base64": (base64.urlsafe_b64encode(SEVEN).decode(), SEVEN),
    "a data URL without data:": (f"image/png;base64,{base64_of(SEVEN)}", SEVEN),
    "escaped": (f"DATA:image/png;Base64,{base64_of(SEVEN).replace('+', '%2B')}", SEVEN),
}


@pytest.mark.parametrize("kind", PICTURE_TEXTS)
def test_a_text_is_a_picture_in_base64_or_a_data_url(client: Client, kind: str) -> None:
    text, picture = PICTURE_TEXTS[kind]
    expected = client.post("/predict", data=picture, content_type="image/jpg").json
    assert client.post("/predict", json={"image": text}).json == expected
    assert client.post("/predict", json={"images": [text]}).json == expected
    assert client.post("/accuracy", json={"image": text, "labels": [7]}).json["count"] == 1
    assert client.post("/train-step", json={"images": [text, text], "labels": [7, 7]}).json["count"] == 2


def test_texts_and_numbers_may_stand_side_by_side(client: Client) -> None:
    picture = client.post("/predict", json={"image": base64_of(SEVEN)}).json["probabilities"]
    numbers = client.post("/predict", json=as_json(X)).json["probabilities"]
    images = [X[0].tolist(), base64_of(SEVEN), X[1].tolist(), X[2].reshape(28, 28).tolist()]
    answer = client.post("/predict", json={"images": images, "pixel_max": 255}).json["probabilities"]
    expected = [numbers[0], picture[0], numbers[1], numbers[2]]
    assert np.array(answer) == pytest.approx(np.array(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seven.png", "expected one in base64, or a data: URL of one"),
        ("https://example.org/seven.png", "expected one in base64"),
        ("", "not a picture that can be read"),
        (base64_of(b"seven"), "not a picture that can be read"),
        (base64_of(SEVEN)[:-3], "expected one in base64"),
        ("data:image/jp2;base64,AAAA", "expected one of image/png;base64"),
        ("data:image/png,AAAA", "expected one of image/png;base64"),
        (base64_of(encoded(drawn(7, ink=255))), "nothing stands out"),
    ],
)
def test_a_text_that_is_no_picture_is_answered_with_where(client: Client, text: str, message: str) -> None:
    problem = is_problem(client.post("/predict", json={"images": [base64_of(SEVEN), text]}), 422)
    assert problem["errors"][0]["loc"] == ["images", 1]
    assert message in problem["detail"]


# Parameters


@pytest.mark.parametrize("path", PATHS)
def test_pixel_max_may_stand_in_the_query_of_json(client: Client, path: str) -> None:
    body = body_of(path)
    del body["pixel_max"]
    assert client.post(f"{path}?pixel_max=255", json=body).status_code == 200
    problem = is_problem(client.post(f"{path}?pixel_max=255", json=body_of(path)), 422)
    assert problem["errors"] == [{"loc": ["pixel_max"], "msg": "given twice, in the body and in the query"}]
    for value in ("256", "white", "0"):
        assert is_problem(client.post(f"{path}?pixel_max={value}", json=body), 422)["errors"][0]["loc"] == [
            "query",
            "pixel_max",
        ]


def test_a_rate_comes_from_the_body_the_form_or_the_query_but_once(client: Client) -> None:
    json_body = body_of("/train-step")
    assert client.post("/train-step", json={**json_body, "learning_rate": 0.5}).json["learning_rate"] == 0.5
    assert client.post("/train-step?learning_rate=0.5", json=json_body).json["learning_rate"] == 0.5
    assert client.post("/train-step?learning_rate=0.5", json={**json_body, "learning_rate": None}).status_code == 422
    problem = is_problem(client.post("/train-step?learning_rate=0.5", json={**json_body, "learning_rate": 0.5}), 422)
    assert problem["errors"][0] == {"loc": ["learning_rate"], "msg": "given twice, in the body and in the query"}
    for path in ("/predict", "/accuracy"):
        problem = is_problem(client.post(path, json=body_of(path, learning_rate=0.5)), 422)
        assert problem["errors"][0]["loc"] == ["learning_rate"]
        problem = is_problem(client.post(path, json=body_of(path, model_version=1)), 422)
        assert problem["errors"][0]["loc"] == ["model_version"]
        assert is_problem(client.post(f"{path}?learning_rate=0.5", json=body_of(path)), 422)["errors"][0]["loc"] == [
            "query",
            "learning_rate",
        ]


def test_pixel_max_is_taken_beside_a_picture_and_changes_nothing(client: Client) -> None:
    plain = client.post("/predict", data=SEVEN, content_type="image/png").json
    assert client.post("/predict?pixel_max=255", data=SEVEN, content_type="image/png").json == plain
    form = {"image": (io.BytesIO(SEVEN), "seven.png"), "pixel_max": "255"}
    assert client.post("/predict", data=form).json == plain


# Mistakes

FLAT = X[0].tolist()
ROWS = X[0].reshape(28, 28).tolist()
MISTAKES: dict[str, tuple[Any, list[object], str]] = {
    "instances": ({"instances": X.tolist()}, ["instances"], "expected image, images,"),
    "inputs": ({"inputs": [{"name": "x"}]}, ["inputs"], "expected image, images,"),
    "data": ({"data": FLAT}, ["data"], "expected image, images,"),
    "x": ({"x": FLAT}, ["x"], "expected image, images,"),
    "a bare list": (X.tolist(), [], "expected a JSON object"),
    "a bare image": (FLAT, [], "expected a JSON object"),
    "a flat list under images": ({"images": FLAT}, ["images", 0], "expected a list"),
    "one image's rows": ({"images": ROWS, "pixel_max": 255}, ["images", 0], "28 pixels: expected 784 pixels (28 × 28)"),
    "no images": ({"images": []}, ["images"], "no images"),
    "colours": ({"image": [[[1, 2, 3]] * 28] * 28, "pixel_max": 255}, ["image", 0, 0], "3 channels: expected one"),
    "a late NaN": ({"image": [[[0.5]] * 28] * 27 + [[[0.5]] * 27 + [[2e9]]]}, ["image", 27, 27, 0], "the pixel is 2000000000: expected 0…1"),
    "channel first": ({"image": [[[0.5] * 28] * 27 + [[0.5] * 27 + [-7]]]}, ["image", 0, 27, 27], "the pixel is -7: expected 0…1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISTAKES)
@pytest.mark.parametrize("path", PATHS)
def test_a_newcomer_is_told_where_and_what_was_expected(client: Client, path: str, kind: str) -> None:
    body, location, message = MISTAKES[kind]
    if isinstance(body, dict) and path != "/predict":
        body = {**body, "labels": [1]}
    problem = is_problem(client.post(path, json=body), 422)
    assert message in problem["detail"]
    assert problem["errors"][0]["loc"] == location
    assert client.get("/readyz").json["model_version"] == 1


def test_labels_are_not_passed_over(client: Client) -> None:
    for name, labels in (("labels", T.tolist()), ("label", 0)):
        problem = is_problem(client.post("/predict", json={**as_json(X), name: labels}), 422)
        assert "expected image, images, pixel_max" in problem["detail"]
        assert problem["errors"][0]["loc"] == [name]
    for path in ("/accuracy", "/train-step"):
        problem = is_problem(client.post(path, json={**as_json(X[:1]), "label": 0}), 422)
        assert [mistake["loc"] for mistake in problem["errors"]] == [["labels"], ["label"]]
        assert "did you mean labels?" in problem["errors"][1]["msg"]


def test_whole_floats_are_class_numbers(client: Client) -> None:
    whole = {**as_json(X), "labels": T.astype(float).tolist()}
    assert client.post("/accuracy", json=whole).json == client.post("/accuracy", json=as_json(X, T)).json
    assert client.post("/train-step", json=whole).json["model_version"] == 2
    for wrong in (0.5, float("inf"), float("nan"), True, "1"):
        body = {**as_json(X), "labels": [*T[:2].tolist(), wrong]}
        assert is_problem(client.post("/train-step", json=body), 422)["errors"][0]["loc"] == ["labels", 2]


def test_whole_floats_are_whole_numbers_as_json_schema_has_it(client: Client) -> None:
    assert client.post("/train-step", json={**as_json(X, T), "rehearse": 2.0}).json["model_version"] == 2
    assert client.post("/rollback", json={"model_version": 1.0}).json["source_version"] == 1
    for wrong in (1.5, float("inf"), float("nan"), True, "1"):
        assert client.post("/rollback", json={"model_version": wrong}).status_code == 422


@pytest.mark.parametrize("high", [1.0000100, 1.5, 99.5])
def test_there_is_no_hint_at_pixel_max_where_following_it_would_be_wrong(client: Client, high: float) -> None:
    image = (X[0] / 255).tolist()
    problem = is_problem(client.post("/predict", json={"image": [*image[:-1], high]}), 422)
    assert f"the pixel is {high}: expected 0…1" in problem["detail"]
    assert "pixel_max" not in problem["detail"]
    assert "pixel_max" not in is_problem(client.post("/predict", json={"image": (X[0] - 3.0).tolist()}), 422)["detail"]


def form(*parts: tuple[str, bytes]) -> dict[str, Any]:
    body = b"".join(
        b"--B\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), data) for head, data in parts
    )
    return {"data": body + b"--B--\r\n", "content_type": "multipart/form-data; boundary=B"}


FORMS: dict[str, tuple[dict[str, Any], list[object], str]] = {
    "no @": (form(('name="image"', b"seven.png")), ["image", 0], "or a file, which has a file name; with curl: -F image=@seven.png"),
    "no file name": (form(('name="image"', SEVEN)), ["image", 0], "a text: expected base64, or a file"),
    "an empty file": (form(('name="image"; filename="a.png"', b"")), ["image", 0], "not a picture that can be read"),
    "no file chosen": (form(('name="image"; filename=""', b"")), ["image", 0], "not a picture that can be read"),
    "a file of another name": (form(('name="image"; filename="a"', SEVEN), ('name="mask"; filename="b"', SEVEN)), ["mask"], "no file of this name"),
    "only another name": (form(('name="file"; filename="a"', SEVEN)), ["file"], "no file of this name is read: expected pictures, as files named image"),
    "no boundary": ({**form(), "content_type": "multipart/form-data"}, ["Content-Type"], "without its boundary"),
    "another boundary": ({**form(), "content_type": "multipart/form-data; boundary=C"}, [], ""),
    "another field": (form(('name="image"; filename="a"', SEVEN), ('name="colour"', b"red")), ["colour"], ""),
    "nothing": (form(), ["image"], "no part of this name"),
}  # fmt: skip


def test_base64_in_a_field_of_a_form_is_a_picture(client: Client) -> None:
    expected = client.post("/predict", data=SEVEN, content_type="image/png").json
    for text in (base64_of(SEVEN), f"data:image/png;base64,{base64_of(SEVEN)}"):
        assert client.post("/predict", **form(('name="image"', text.encode()))).json == expected
    both = form(('name="image"', base64_of(SEVEN).encode()), ('name="image"; filename="a.png"', SEVEN))
    assert "some are files and some are texts" in is_problem(client.post("/predict", **both), 422)["detail"]


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n--B", b"\r\n--B\r\n"], ids=repr)
def test_a_form_may_lack_the_end_of_its_last_boundary(client: Client, end: bytes) -> None:
    options = form(('name="image"; filename="a.png"', SEVEN), ('name="labels"', b"7"))
    options["data"] = options["data"].removesuffix(b"\r\n--B--\r\n") + end
    assert client.post("/accuracy", **options).json["count"] == 1


def test_json_that_was_encoded_twice_is_read(client: Client) -> None:
    body = json.dumps(body_of("/predict"))
    twice = client.post("/predict", data=json.dumps(body), content_type=JSON)
    assert twice.json == client.post("/predict", data=body, content_type=JSON).json
    problem = is_problem(client.post("/predict", json={"image": json.dumps(FLAT)}), 422)
    assert "a list in quotation marks: send it without these" in problem["detail"]


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("path", PATHS)
def test_a_form_that_can_t_be_used_is_told_apart(client: Client, path: str, kind: str) -> None:
    options, location, message = FORMS[kind]
    problem = is_problem(client.post(path, **options), 422)
    assert message in problem["detail"]
    assert not location or problem["errors"][0]["loc"] == location


def test_an_empty_picture_is_422(client: Client) -> None:
    assert "no body" in is_problem(client.post("/predict", data=b"", content_type="image/png"), 422)["detail"]


# The activation of a weights file


def sigmoid_file(**settings: str) -> tuple[TwoLayerNet, bytes]:
    network = TwoLayerNet(FEATURES, 20, 10, "xavier", activation="sigmoid", seed=3, dtype=np.float32)
    stream = io.BytesIO()
    said = {"settings": np.array(json.dumps(settings))} if settings else {}
    np.savez(stream, **network.params, **said)  # type: ignore[arg-type]
    return network, stream.getvalue()


def test_the_activation_of_a_file_of_four_arrays_is_said_in_the_query(client: Client) -> None:
    network, data = sigmoid_file()
    form = {"weights": (io.BytesIO(data), "weights.npz")}
    assert "curl -T" in is_problem(client.put("/weights?activation=sigmoid", data=form), 415)["detail"]
    assert client.put("/weights?activation=sigmoid", data=data).json["model_version"] == 2
    answer = client.post("/predict", json=as_json(X)).json
    assert answer["labels"] == network.predict((X / 255).astype(np.float32)).argmax(axis=1).tolist()
    assert weights_file.from_bytes(client.get("/weights").data).activation == "sigmoid"
    assert client.put("/weights?activation=sigmoid", data=client.get("/weights").data).status_code == 200
    problem = is_problem(client.put("/weights?activation=relu", data=client.get("/weights").data), 422)
    assert "records the activation sigmoid, not relu" in problem["detail"]
    problem = is_problem(client.put("/weights?activation=tanh", data=data), 422)
    assert problem["errors"][0]["loc"] == ["query", "activation"]


def test_a_new_store_begins_with_the_activation_that_is_set(settings: Settings) -> None:
    network, data = sigmoid_file()
    settings.weights.write_bytes(data)
    client = Client(create_app(settings.model_copy(update={"activation": "sigmoid"})))
    answer = client.post("/predict", json=as_json(X)).json
    assert answer["labels"] == network.predict((X / 255).astype(np.float32)).argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", b'{"x": [%s0]}'),
        ("/predict", b'{"images": [%s0]}'),
        ("/predict", b'{"images": [[' + b"0," * (FEATURES - 1) + b'0]], "x": [%s0]}'),
        ("/accuracy", b'{"images": [], "labels": [%s0]}'),
        ("/rollback", b'{"model_version": [%s0]}'),
        ("/train-step", b'{"prediction_ids": [%s0], "labels": []}'),
        ("/v2/models/twolayernet/infer", b'{"inputs": [], "parameters": {"x": [%s0]}}'),
    ],
)
def test_a_body_of_very_many_lists_is_refused_before_it_is_read(client: Client, path: str, body: bytes) -> None:
    """Each would take a hundred times its two characters."""
    for lists in (b"[[[[]]]]," * 800_000, b"{}," * 800_000):
        packed = gzip.compress(body % lists, 1)
        headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
        answer = client.post(path, data=packed, headers=headers)
        assert answer.status_code in (400, 422)
        assert re.search("more than (4|1.5)?[0-9]*0,000 (lists|objects)", answer.text)


@pytest.mark.parametrize("members", [10_001, 100_000])
def test_a_body_of_very_many_gzip_members_is_422_at_once(client: Client, members: int) -> None:
    data = gzip.compress(b"") * members
    answer = client.post("/predict", data=data, content_type=JSON, headers={"Content-Encoding": "gzip"})
    assert "more than 10,000 gzip members" in is_problem(answer, 422)["detail"]
