"""Whatever a request says, it gets an answer: no 500, no 503, a problem document for every error, and nothing changed
but by a 200."""

import gzip
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pytest
from hypothesis import HealthCheck, Verbosity, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from service.app import create_app
from service.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

REQUESTS = int(os.environ.get("TEST_REQUESTS", "5600"))
"""That the long form makes up, of seven kinds."""

ROWS, COLUMNS, CLASSES = 3, 2, 3
FEATURES = ROWS * COLUMNS
JSON, NPY, NPZ = "application/json", "application/x-npy", "application/x-npz"
CHANGING = {("POST", path) for path in ("/train-step", "/rollback", "/unlearn", "/relabel")} | {("PUT", "/weights")}
ROUTES = [
    ("POST", "/predict"),
    ("POST", "/accuracy"),
    ("POST", "/train-step"),
    ("POST", "/rollback"),
    ("PUT", "/weights"),
    ("GET", "/weights"),
    ("GET", "/versions"),
    ("GET", "/examples"),
    ("GET", "/examples/1/0/image"),
    ("GET", "/labels"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/learning"),
    ("PUT", "/learning"),
    ("POST", "/unlearn"),
    ("POST", "/relabel"),
    ("GET", "/predictions"),
    ("GET", "/predictions/none/image"),
    ("DELETE", "/predictions/none"),
    ("GET", "/models"),
    ("GET", "/models/default"),
    ("PUT", "/models/default"),
    ("POST", "/models/default/predict"),
]
WEIGHTS = Weights(TwoLayerNet(FEATURES, 4, CLASSES, "he", seed=1, dtype=np.float32).params, image_shape=(ROWS, COLUMNS))
X = np.arange(2 * FEATURES, dtype=np.uint8).reshape(2, FEATURES)
T = np.array([0, 2])


class Service:
    """A service in this process, of which every answer is looked at."""

    def __init__(self, folder: Path) -> None:
        weights_file.save(folder / "weights.npz", WEIGHTS)
        store = f"sqlite:///{folder}/store.db"
        models = folder / "models"
        app = create_app(Settings(weights=folder / "weights.npz", store=store, snapshot_every=3, models=models))
        self._client = app.test_client()
        self.newest = 1

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self._client.open(path, method=method, buffered=True, **options)
        said = (method, path, options, answer.status_code, answer.data[:500])
        assert answer.status_code < 500, said
        if answer.status_code >= 400:
            assert answer.mimetype == "application/problem+json", said
            assert set(json.loads(answer.data)) == {"type", "title", "status", "detail", "errors"}, said
            assert len(answer.data) < 20_000, said
        ready = self._client.get("/readyz")
        assert ready.status_code == 200, said
        version = json.loads(ready.data)["model_version"]
        changed = answer.status_code == 200 and (method, path) in CHANGING
        assert version in ({self.newest, self.newest + 1} if changed else {self.newest}), said
        self.newest = version
        return answer


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    service = Service(folder)
    yield service
    again = create_app(Settings(weights=folder / "weights.npz", store=f"sqlite:///{folder}/store.db"))
    for version in range(1, service.newest + 1, max(1, service.newest // 50)):  # and all of it can be read back
        assert again.test_client().get(f"/weights?model_version={version}").status_code in (200, 404)


def examples(count: int) -> hypothesis_settings:
    """The same ones in each run; the long form looks for others."""
    return hypothesis_settings(
        max_examples=count // 6,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npz(packing: int = zipfile.ZIP_STORED, /, **arrays: Any) -> bytes:
    return packed([(f"{name}.npy", npy(array)) for name, array in arrays.items()], packing)


def packed(members: list[tuple[str, bytes]], packing: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def header(descr: object, shape: object) -> bytes:
    """A .npy file of which only the header is there."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


# Queries

NAMES = [
    "model_version",
    "limit",
    "before",
    "after",
    "learning_rate",
    "rehearse",
    "pixel_max",
    "rehearsed",
    "activation",
]
numbers = st.sampled_from(
    ["0", "1", "-1", "2", "1e3", "1.0", " 5", "٣", "+5", "1_000", "nan", "inf", "-inf", "1e400", "", "0x10", "true"]
) | st.sampled_from([2**31, 2**53, 2**63 - 1, 2**63, 2**64, 2**100]).map(str)
garbage = st.text(max_size=6) | st.sampled_from(
    ["%", "%zz", "%ff%fe", "%00", "%ED%A0%80", "&&", "=", "a" * 3000, "9" * 5000]
)
pairs = st.tuples(st.sampled_from(NAMES) | garbage, numbers | garbage | st.integers().map(str) | st.floats().map(str))
queries = st.lists(pairs, min_size=1, max_size=3).map(
    lambda found: "&".join(f"{name}={value}" for name, value in found)
)


def as_query(text: str) -> dict[str, str]:
    """As a server hands it on: bytes, seen as Latin-1."""
    return {"QUERY_STRING": text.encode("utf-8", "surrogatepass").decode("latin-1")}


def body_of(path: str) -> dict[str, Any]:
    """A good request."""
    bodies: dict[str, dict[str, Any]] = {
        "/predict": {"data": npy(X), "content_type": NPY},
        "/accuracy": {"data": npz(x=X, t=T), "content_type": NPZ},
        "/train-step": {"data": npz(x=X, t=T), "content_type": NPZ},
        "/rollback": {"json": {"model_version": 1}},
        "/unlearn": {"json": {"source": "nobody"}},
        "/relabel": {"json": {"model_version": 1, "labels": [0]}},
        "/weights": {"data": weights_file.to_bytes(WEIGHTS)},
        "/learning": {"json": {"state": "learning"}},
        "/models/default": {"json": {"copy_of": "default"}},
    }
    return bodies.get(path.removeprefix("/models/default") if path.endswith("predict") else path, {})


@pytest.mark.parametrize("name", ["model_version", "limit", "before", "after"])
@pytest.mark.parametrize("value", [2**63, 2**64, 10**30, -(2**63) - 1, "9" * 5000])
def test_a_number_that_no_database_can_hold_is_422(service: Service, name: str, value: object) -> None:
    for method, path in ROUTES[:3] + ROUTES[5:8]:
        answer = service.ask(method, path, query_string={name: value}, **body_of(path))
        assert answer.status_code == 422, answer.data
        assert answer.json["errors"][0]["loc"] == ["query", name]
        assert len(answer.data) < 1000
    assert service.ask("POST", "/rollback", json={"model_version": 2**63}).status_code == 422
    assert service.ask("POST", "/unlearn", json={"model_versions": [2**63]}).status_code == 422
    assert service.ask("POST", "/unlearn", json={"source": "x", "after": value}).status_code == 422
    assert service.ask("POST", "/relabel", json={"model_version": 2**63, "labels": [0]}).status_code == 422


@pytest.mark.parametrize(("method", "path"), [("POST", "/predict"), ("POST", "/accuracy"), ("GET", "/weights")])
def test_the_largest_number_that_a_database_can_hold_is_a_version_that_there_is_not(
    service: Service, method: str, path: str
) -> None:
    query = {"model_version": 2**63 - 1}
    assert service.ask(method, path, query_string=query, **body_of(path)).status_code == 404
    assert service.ask("POST", "/rollback", json=query).status_code == 404


@pytest.mark.parametrize("value", ["1e3", "1.0", " 5", "5 ", "٣", "+5", "-5", "1_000", "", "0x10", "true"])
def test_a_whole_number_in_a_query_is_digits_and_nothing_else(service: Service, value: str) -> None:
    for method, path, name in [
        ("POST", "/predict", "model_version"),
        ("POST", "/accuracy", "model_version"),
        ("GET", "/weights", "model_version"),
        ("GET", "/versions", "limit"),
        ("GET", "/versions", "before"),
        ("GET", "/examples", "after"),
        ("GET", "/examples", "limit"),
        ("GET", "/labels", "limit"),
    ]:
        answer = service.ask(method, path, query_string={name: value}, **body_of(path))
        assert answer.status_code == 422, (path, name)
        assert "digits 0 to 9" in answer.json["detail"]


@pytest.mark.parametrize("id_", ["%00", "%ff", "a%00b", "%F0%9F%98%80", "x" * 3000, ".."])
def test_an_id_that_is_none_is_404_or_409(service: Service, id_: str) -> None:
    assert service.ask("GET", f"/predictions/{id_}/image").status_code == 404
    assert service.ask("DELETE", f"/predictions/{id_}").status_code == 404
    for place in (f"{id_}/0", f"2/{id_}"):
        assert service.ask("GET", f"/examples/{place}/image").status_code == 404
    body = {"prediction_ids": [unquote(id_)[:100]], "labels": [1]}
    assert service.ask("POST", "/train-step", json=body).status_code == 409


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "1_0", " 1", "+1", "٣", "0x1", ""])
def test_a_rate_in_a_query_is_a_plain_number(service: Service, value: str) -> None:
    answer = service.ask("POST", "/train-step", query_string={"learning_rate": value}, **body_of("/train-step"))
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["query", "learning_rate"]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_parameter_that_is_not_known_is_422(service: Service, method: str, path: str) -> None:
    answer = service.ask(method, path, query_string={"colour": "red"}, **body_of(path))
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["query", "colour"]


def no_query_gets_a_500(service: Service, route: tuple[str, str], query: str) -> None:
    method, path = route
    service.ask(method, path, environ_overrides=as_query(query), **body_of(path))


@given(route=st.sampled_from(ROUTES), query=queries)
@example(("POST", "/predict"), f"model_version={2**63}")
@example(("GET", "/versions"), f"before={2**63}")
@example(("GET", "/examples"), f"after={2**63}")
@examples(200)
def test_no_query_gets_a_500(service: Service, route: tuple[str, str], query: str) -> None:
    no_query_gets_a_500(service, route, query)


# JSON

deep_list: Any = "[" * 2000 + "]" * 2000
deep_object = '{"a":' * 2000 + "1" + "}" * 2000
raw = st.sampled_from(
    [
        deep_list,
        deep_object,
        "1e400",
        "-1e400",
        "9" * 400,
        "9" * 5000,
        "0." + "1" * 3000,
        "NaN",
        "Infinity",
        '"\\ud800"',
        '{"\\ud800": 1}',
        '"' + "x" * 100_000 + '"',
        "[]",
        "{}",
        "[[]]",
        "[[[]]]",
        "[" + "0," * 50_000 + "0]",
        "[" + "[1,2],[3,4],[5,6]," * 3000 + "[]]",
        "18446744073709551615",
        "9223372036854775808",
        "-9223372036854775809",
        '"iVBORw0KGgo="',
        '"data:image/png;base64,AAAA"',
        '["data:image/png;base64,", "seven.png"]',
        "[[[[0]]]]",
        "[[[0],[0]],[[0],[0]],[[0],[1.0000001]]]",
        "[[[[0,1],[0,1],[0,1]]]]",
        "true",
        "null",
        "1.0",
        "255.0",
        "1",
        "",
        "[",
        '{"a":1,"a":2}',
    ]
)
image = st.just(json.dumps(X[0].tolist())) | st.just(json.dumps((X[0] / 9).reshape(ROWS, COLUMNS).tolist()))
value = raw | image | st.sampled_from(["[0]", "[2,1]", "[[0,0,1]]", "0.1", "255"]) | image.map(lambda one: f"[{one}]")
FIELDS = [
    "images",
    "image",
    "labels",
    "pixel_max",
    "learning_rate",
    "rehearse",
    "model_version",
    "prediction_ids",
    "\\ud800",
]
objects = st.lists(st.tuples(st.sampled_from(FIELDS), value), max_size=4).map(
    lambda found: "{" + ",".join(f'"{name}":{text}' for name, text in found) + "}"
)
good = '{"images":[[0,1,0,1,0,1]],"labels":[1]'
labelled = st.lists(st.tuples(st.sampled_from(FIELDS), value), min_size=1, max_size=2).map(
    lambda found: good + "".join(f',"{name}":{text}' for name, text in found) + "}"
)
OF_MODELS = ["copy_of", "model_version", "new", "image_shape", "hidden", "classes", "label_names", "activation", "seed"]
shape = st.sampled_from(["[2,3]", "[9999,9999]", "[0,1]", "[1]"])
new_value = raw | shape | st.sampled_from(['"default"', '"relu"', '["a","b"]', '["a","a"]', "2", "100000", "0"])
new_fields = st.lists(st.tuples(st.sampled_from(OF_MODELS), new_value), max_size=4)
new_objects = new_fields.map(lambda found: "{" + ",".join(f'"{name}":{text}' for name, text in found) + "}")
of_a_model = new_objects | new_objects.map(lambda text: f'{{"new":{text}}}')


@given(body=of_a_model | raw, name=st.sampled_from(["made", "a" * 63]) | garbage)
@example('{"copy_of":"default"}', "made")
@example('{"new":{"image_shape":[2,3],"classes":2}}', "made")
@example('{"new":{"image_shape":[2,3],"classes":2,"seed":9223372036854775808}}', "made")
@examples(400)
def test_no_model_that_is_asked_for_gets_a_500(service: Service, body: str, name: str) -> None:
    path = f"/models/{quote(name, errors='replace', safe='')}"
    answer = service.ask("PUT", path, data=body.encode("utf-8", "surrogatepass"), content_type=JSON)
    if answer.status_code == 200:
        service.ask("POST", f"{path}/key")
        service.ask("DELETE", path)


POSTS = [path for method, path in ROUTES if method == "POST"]


def no_json_gets_a_500(service: Service, path: str, body: str) -> None:
    service.ask("POST", path, data=body.encode("utf-8", "surrogatepass"), content_type=JSON)


@given(path=st.sampled_from(POSTS), body=raw | objects | labelled)
@example("/rollback", f'{{"model_version":{2**63}}}')
@example("/train-step", good[:-1] + "," + "9" * 4000 + "]}")
@example("/train-step", good + f',"labels":{deep_list}}}')
@example("/train-step", '{"images":[[[],[],[]]],"labels":[1]}')
@examples(250)
def test_no_json_gets_a_500(service: Service, path: str, body: str) -> None:
    no_json_gets_a_500(service, path, body)


# Arrays

DTYPES = [
    "?",
    "u1",
    "<u2",
    "<i8",
    ">i4",
    "<u8",
    "<f2",
    "<f4",
    ">f8",
    "<f8",
    "<c8",
    "<U3",
    "S2",
    "<M8[s]",
    "<m8",
    "V3",
    "O",
]
DTYPES += [np.dtype(np.longdouble).str]
PACKINGS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
SHAPES = [
    (),
    (0,),
    (6,),
    (3, 2),
    (1, 6),
    (2, 6),
    (2, 3, 2),
    (0, 6),
    (2, 0),
    (1, 1, 6),
    (2, 3),
    (6, 4),
    (4,),
    (4, 3),
    (3,),
    (1,) * 20,
]


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    dtype, shape = np.dtype(draw(st.sampled_from(DTYPES))), draw(st.sampled_from(SHAPES))
    filling = draw(st.sampled_from(["zeros", "ones", "many", "noise"]))
    count = int(np.prod(shape))
    if dtype.kind == "O" or filling == "zeros":
        array = np.zeros(shape, dtype)
    elif filling == "noise":  # whatever the bits mean: NaN, infinities, numbers that are none, no characters
        seed = draw(st.integers(0, 99))
        data = np.random.default_rng(seed).bytes(count * dtype.itemsize)
        array = np.frombuffer(data, dtype).reshape(shape) if count else np.zeros(shape, dtype)
    else:
        with np.errstate(all="ignore"):
            array = (
                (np.ones(shape) * (1 if filling == "ones" else 1e300)).astype("f8").astype(dtype, casting="unsafe")
                if dtype.kind in "biufc"
                else np.zeros(shape, dtype)
            )
    return np.asfortranarray(array) if draw(st.booleans()) else array


raw_npy = st.sampled_from(
    [
        header("<f8", "(0, 4611686018427387904)"),
        header("<f8", f"(0, {10**30})"),
        header("<f8", f"({'9' * 4000}, {'9' * 4000})"),
        header("<f8", "(" + "1, " * 70 + ")") + bytes(8),
        header("<f8", "(True, 6)") + bytes(48),
        header("<f8", "(-1, -6)") + bytes(48),
        header("<U0", "(1000000000, 1000000000)"),
        header("|V0", "(6,)"),
        header("(2,3)<f4", "(1,)") + bytes(24),
        header("<f4,<f4", "(3,)") + bytes(24),
        header([("x", "<f4", (6,))], "(1,)") + bytes(24),
        header("<f8", "[6]") + bytes(48),
        header("<f8", "(6L,)") + bytes(48),
        header("<f8", "(" * 300 + ")" * 300),
        header("<f8", "[" * 150 + "]" * 150),
        header("<f8", "(6,)" + " " * 20_000) + bytes(48),
        header("<f8", "(6,)").replace(b"Y\x01\x00", b"Y\x03\x00") + bytes(48),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        b"\x93NUMPY",
    ]
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 6))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.sampled_from([None, None, None, -1, 10, 100]))
    return bytes(data[:cut])


npys = raw_npy | arrays().map(npy) | damaged(arrays().map(npy) | st.just(npy(X)) | st.just(npy(X / 255)))
members = st.lists(
    st.tuples(
        st.sampled_from(["x", "t", "x.npy", "t.npy", "model_version.npy", "rehearse.npy", "é.npy", "a/", ".npy"]), npys
    ),
    max_size=4,
    unique_by=lambda member: member[0],
)
npzs = (
    st.builds(packed, members, st.sampled_from(PACKINGS))
    | st.builds(lambda packing, x, t: npz(packing, x=x, t=t), st.sampled_from(PACKINGS), arrays(), arrays())
    | damaged(st.sampled_from(PACKINGS).map(lambda packing: npz(packing, x=X, t=T)))
    | damaged(st.sampled_from(PACKINGS).map(lambda packing: npz(packing, x=X / 255, t=np.eye(CLASSES)[T])))
)
setting_texts = raw | st.sampled_from(
    [
        '{"training":' + "[" * 975 + "]" * 975 + "}",
        '{"training":' + deep_object + "}",
        '{"training":{"a":1e999}}',
        '{"training":{"a":NaN}}',
        '{"training":{"a":' + "9" * 4000 + "}}",
        '{"training":{"a":"\\ud800"}}',
        '{"training":{"a":"\ud800"}}',
        '{"training":{"a":"' + "é" * 30_000 + '"}}',
        '{"training":{"a":[' + "1e15," * 9000 + "1]}}",
        '{"training":["a"]}',
        '{"training":null}',
        '{"activation":["relu"]}',
        '{"activation":{"relu":1}}',
        '{"activation":null}',
        '{"image_shape":[true,6]}',
        '{"image_shape":[6.0,1]}',
        '{"image_shape":[' + "9" * 900 + ",1]}",
        '{"image_shape":{"0":6}}',
        '{"activation":"relu","activation":"sigmoid"}',
    ]
)
settings_arrays = (
    setting_texts.map(np.array)
    | arrays()
    | st.sampled_from(
        [
            np.array(['{"training":{}}']),
            np.array([["{}"], ["{}"]]),
            np.array(b"{}"),
            np.array("{}", "<U2000000"),
            np.array("{}", ">U2"),
            np.array("{}", "<U9"),
            np.frombuffer(b"\xff\xff\xff\x7f", "<U1").reshape(()),
            np.array(5),
        ]
    )
)
weights_bodies = (
    settings_arrays.map(lambda settings: npz(**WEIGHTS.params, settings=settings))
    | st.builds(
        lambda name, array: npz(**{**WEIGHTS.params, name: array}),
        st.sampled_from(["W1", "b1", "W2", "b2", "adagrad.W1", "x"]),
        arrays(),
    )
    | st.builds(
        lambda array: npz(
            **WEIGHTS.params,
            **{f"adagrad.{name}": WEIGHTS.params[name] ** 2 for name in WEIGHTS.params if name != "b2"},
            **{"adagrad.b2": array},
        ),
        arrays(),
    )
    | damaged(
        st.sampled_from(PACKINGS).map(
            lambda packing: npz(packing, **WEIGHTS.params, settings=np.array('{"activation":"relu"}'))
        )
    )
    | npzs
)


def no_array_gets_a_500(service: Service, data: bytes) -> None:
    service.ask("POST", "/predict", data=data, content_type=NPY)


@given(data=npys)
@example(header("<f8", "(0, 4611686018427387904)"))
@example(header("<f8", f"({'9' * 4000}, {'9' * 4000})"))
@example(header("<f8", "(" + "1, " * 70 + ")") + bytes(8))
@example(header("<f8", "(True, 6)") + bytes(48))
@example(npy(np.zeros(6, "<M8[s]")))
@examples(150)
def test_no_npy_gets_a_500(service: Service, data: bytes) -> None:
    no_array_gets_a_500(service, data)


def no_npz_gets_a_500(service: Service, path: str, data: bytes) -> None:
    service.ask("POST", path, data=data, content_type=NPZ)


@given(path=st.sampled_from(["/accuracy", "/train-step"]), data=npzs)
@example("/train-step", npz(zipfile.ZIP_LZMA, x=X, t=T))
@example("/train-step", npz(zipfile.ZIP_BZIP2, x=X, t=T))
@example("/accuracy", packed([("x.npy", npy(X)), ("x", npy(X)), ("t.npy", npy(T))]))
@examples(150)
def test_no_npz_gets_a_500(service: Service, path: str, data: bytes) -> None:
    no_npz_gets_a_500(service, path, data)


def no_weights_get_a_500(service: Service, data: bytes) -> None:
    service.ask("PUT", "/weights", data=data)


@given(data=weights_bodies)
@example(npz(**WEIGHTS.params, settings=np.array('{"training":' + '{"a":' * 975 + "1" + "}" * 976)))
@example(npz(**WEIGHTS.params, settings=np.array('{"activation":["relu"]}')))
@example(npz(**WEIGHTS.params, settings=np.frombuffer(b"\xff\xff\xff\x7f", "<U1").reshape(())))
@examples(200)
def test_no_weights_get_a_500(service: Service, data: bytes) -> None:
    no_weights_get_a_500(service, data)


# Forms


def png(side: tuple[int, int] = (COLUMNS, ROWS), mode: str = "L") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, side, 0).save(stream, "PNG")
    return stream.getvalue()


PICTURES = [
    png(),
    png((1, 1)),
    png((40, 1)),
    png((1, 60)),
    png((50, 50)),
    png(mode="I;16"),
    png(mode="RGBA"),
    png(mode="1"),
    b"",
    b"GIF89a",
]
pictures = st.sampled_from(PICTURES) | damaged(st.sampled_from(PICTURES))
part_names = st.sampled_from(["image", "labels", "learning_rate", "pixel_max", "", "é", "imáge\udcff", 'a"b'])
part_heads = st.builds(
    lambda name, end, kind: f'Content-Disposition: form-data; name="{name}"{end}\r\n{kind}',
    part_names,
    st.sampled_from(
        ["", '; filename="a.png"', "; filename*=utf-8''%ED%A0%80", '; filename=""', "; ;;=", '; name="twice"']
    ),
    st.sampled_from(
        [
            "",
            "Content-Type: image/png\r\n",
            "Content-Type: \r\n",
            "Content-Transfer-Encoding: base64\r\n",
            "nonsense\r\n",
            "Content-Type: text/plain; charset=utf-16\r\n",
        ]
    ),
) | st.sampled_from(["", "Content-Disposition\r\n", "Content-Disposition: form-data\r\n"])
part_bodies = pictures | st.sampled_from(
    [b"0", b"0,2", b"1e3", b"nan", b"9" * 5000, b"\xff\xfe", b",,", b"0.1", b"-1", "٣".encode()]
)
forms = st.lists(st.tuples(part_heads, part_bodies), max_size=4)


def form_of(parts: list[tuple[str, bytes]]) -> bytes:
    heads = [b"--B\r\n" + head.encode("utf-8", "surrogateescape") + b"\r\n" + body for head, body in parts]
    return b"\r\n".join([*heads, b"--B--\r\n"])


def no_form_gets_a_500(service: Service, path: str, data: bytes, content_type: str) -> None:
    service.ask("POST", path, data=data, content_type=content_type)


IMAGE_PART = ('Content-Disposition: form-data; name="image"; filename="a.png"\r\n', PICTURES[0])
multipart_types = st.just("multipart/form-data; boundary=B") | st.sampled_from(
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary*=utf-8''%ED%A0%80",
    ]
)


@given(
    path=st.sampled_from(POSTS[:3]),
    data=forms.map(form_of)
    | forms.map(lambda parts: form_of([IMAGE_PART, *parts]))
    | damaged(st.just(form_of([IMAGE_PART]))),
    content_type=multipart_types,
)
@examples(150)
def test_no_form_gets_a_500(service: Service, path: str, data: bytes, content_type: str) -> None:
    no_form_gets_a_500(service, path, data, content_type)


# Headers

header_values = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20
) | st.sampled_from(
    [
        "",
        " ",
        "x" * 5000,
        "*",
        '"',
        '""',
        'W/"',
        '"a", "b',
        "gzip",
        "deflate",
        "br",
        "gzip, gzip",
        "identity",
        "application/json; charset=utf-16",
        "application/json;;;=",
        "multipart/form-data; boundary=B",
        "image/png",
        "image/jpeg",
        "text/plain",
        "bytes=0-1",
        "Thu, 99 Foo 9999 99:99:99 GMT",
        "9" * 5000,
        "-1",
        "\xff\xfe",
    ]
)
HEADERS = [
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Range",
    "Range",
    "Content-Type",
    "Content-Encoding",
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Cookie",
    "Expect",
    "Host",
    "X-Min-Model-Version",
    "X-HTTP-Method-Override",
    "Origin",
]
headers = st.dictionaries(st.sampled_from(HEADERS), header_values, min_size=1, max_size=3)


def no_header_gets_a_500(service: Service, route: tuple[str, str], sent: dict[str, str]) -> None:
    method, path = route
    good = body_of(path)
    if "json" in good:
        good = {"data": json.dumps(good["json"]), "content_type": JSON}
    if "Content-Type" in sent:
        good["content_type"] = sent["Content-Type"]
    if sent.get("Content-Encoding") == "gzip" and "data" in good and len(sent) > 1:  # else it is not, and only says so
        plain = good["data"]
        good["data"] = gzip.compress(plain.encode() if isinstance(plain, str) else plain)
    others = {f"HTTP_{name.upper().replace('-', '_')}": text for name, text in sent.items() if name != "Content-Type"}
    service.ask(method, path, environ_overrides=others, **good)


@given(route=st.sampled_from(ROUTES), sent=headers)
@example(("GET", "/weights"), {"If-Match": '"0"'})
@examples(150)
def test_no_header_gets_a_500(service: Service, route: tuple[str, str], sent: dict[str, str]) -> None:
    no_header_gets_a_500(service, route, sent)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["query", "json", "npy", "npz", "weights", "form", "header"])
def test_nothing_gets_a_500_looked_for_long(service: Service, kind: str) -> None:
    long = hypothesis_settings(
        max_examples=REQUESTS // 7, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )

    @long
    @given(data=st.data())
    def look(data: st.DataObject) -> None:
        if kind == "query":
            no_query_gets_a_500(service, data.draw(st.sampled_from(ROUTES)), data.draw(queries))
        elif kind == "json":
            no_json_gets_a_500(service, data.draw(st.sampled_from(POSTS)), data.draw(raw | objects | labelled))
        elif kind == "npy":
            no_array_gets_a_500(service, data.draw(npys))
        elif kind == "npz":
            no_npz_gets_a_500(service, data.draw(st.sampled_from(["/accuracy", "/train-step"])), data.draw(npzs))
        elif kind == "weights":
            no_weights_get_a_500(service, data.draw(weights_bodies))
        elif kind == "form":
            path, body = data.draw(st.sampled_from(POSTS[:3])), form_of([IMAGE_PART, *data.draw(forms)])
            no_form_gets_a_500(service, path, body, data.draw(multipart_types))
        else:
            no_header_gets_a_500(service, data.draw(st.sampled_from(ROUTES)), data.draw(headers))

    look()
