"""application/x-npy and x-npz; and JSON, read by two ways that have to agree."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from model.weights_file import Weights
from service.decoders.checks import checked_pixels
from service.decoders.json import images_of
from service.decoders.json_numbers import numbers_of, read_numbers
from service.http.parsing import parse
from service.http.problems import Problem
from service.schemas.requests import TrainStepFields, TrainStepRequest
from service.validation import shortened
from tests.conftest import Client, as_json, random_batch, shared_client
from tests.service.test_bad_input import is_problem

client = shared_client

X, T = random_batch(5)
NPY, NPZ = "application/x-npy", "application/x-npz"


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        X,
        X.reshape(5, 28, 28),
        np.asfortranarray(X),
        (X / 255).astype(np.float32),
        (X / 255).astype(np.float64).reshape(5, 28, 28),
        (X / 255).astype(">f8"),
    ],
    ids=["bytes", "rows of bytes", "in Fortran's order", "float32", "rows of float64", "big-endian"],
)
def test_an_array_is_answered_as_the_same_images_in_json_are(client: Client, array: np.ndarray) -> None:
    answer = client.post("/predict", data=npy(array), content_type=NPY)
    assert answer.status_code == 200, answer.data
    expected = client.post("/predict", json=as_json(X)).json
    assert answer.json["labels"] == expected["labels"]
    assert np.array(answer.json["probabilities"]) == pytest.approx(np.array(expected["probabilities"]), abs=1e-6)


@pytest.mark.parametrize("array", [X[0], X[0].reshape(28, 28), (X[0] / 255).astype(np.float16)])
def test_one_image_without_a_batch_axis_is_a_batch_of_one(client: Client, array: np.ndarray) -> None:
    answer = client.post("/predict", data=npy(array), content_type=f"{NPY}; charset=binary").json
    assert answer["labels"] == client.post("/predict", json=as_json(X[:1])).json["labels"]


def test_whole_numbers_of_any_width_are_pixels_to_255(client: Client) -> None:
    expected = client.post("/predict", data=npy(X), content_type=NPY).json
    for kind in ("u2", "u4", "u8", "i2", "i4", "i8", ">i4"):
        assert client.post("/predict", data=npy(X.astype(kind)), content_type=NPY).json == expected, kind
    dark = X // 2
    answer = client.post("/predict", data=npy(dark.astype("i1")), content_type=NPY).json
    assert answer == client.post("/predict", data=npy(dark), content_type=NPY).json
    ones = client.post("/predict?pixel_max=1", data=npy(X // 255), content_type=NPY).json
    assert ones == client.post("/predict", data=npy((X // 255).astype("f4")), content_type=NPY).json


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f8"])
def test_floats_to_255_are_said_in_the_query(client: Client, kind: str) -> None:
    expected = client.post("/predict", data=npy(X), content_type=NPY).json
    assert client.post("/predict?pixel_max=255", data=npy(X.astype(kind)), content_type=NPY).json == expected
    labelled = client.post("/train-step?pixel_max=255", data=npz(x=X.astype(kind), t=T), content_type=NPZ).json
    assert labelled["model_version"] == 2


@pytest.mark.parametrize("shape", [(5, 28, 28, 1), (5, 1, 28, 28)])
def test_a_channel_axis_of_one_is_no_matter(client: Client, shape: tuple[int, ...]) -> None:
    expected = client.post("/predict", json=as_json(X)).json
    assert client.post("/predict", data=npy(X.reshape(shape)), content_type=NPY).json == expected
    assert client.post("/predict", json=as_json(X.reshape(shape))).json == expected
    one = X[0].reshape(shape[1:])
    expected = client.post("/predict", json=as_json(X[:1])).json
    assert client.post("/predict", data=npy(one), content_type=NPY).json == expected
    assert client.post("/predict", json={"image": one.tolist(), "pixel_max": 255}).json == expected
    labelled = client.post("/accuracy", data=npz(x=X.reshape(shape), t=T), content_type=NPZ).json
    assert labelled == client.post("/accuracy", json=as_json(X, T)).json


@pytest.mark.parametrize("pixel_max", [1, 255])
def test_a_hair_outside_of_the_range_is_clipped(client: Client, pixel_max: int) -> None:
    exact = X / 255 * pixel_max
    near = np.where(X == 0, -9e-7 * pixel_max, np.where(X == 255, pixel_max * 1.0000009, exact))
    query = f"?pixel_max={pixel_max}"
    expected = client.post(f"/predict{query}", data=npy(exact), content_type=NPY).json
    assert client.post(f"/predict{query}", data=npy(near), content_type=NPY).json == expected
    body = {"images": near.tolist(), "pixel_max": pixel_max}
    assert client.post("/predict", json=body).json == expected
    assert client.post(f"/predict{query}", json={"images": near.reshape(5, 28, 28).tolist()}).json == expected


@pytest.mark.parametrize(
    "labels", [T.astype(np.float32), T, T.astype(np.uint8), np.eye(10)[T], np.eye(10, dtype=bool)[T]]
)
def test_labelled_arrays_teach(client: Client, labels: np.ndarray) -> None:
    expected = client.post("/accuracy", json=as_json(X, T)).json
    assert client.post("/accuracy", data=npz(x=X, t=labels), content_type=NPZ).json == expected
    answer = client.post("/train-step?learning_rate=0.5", data=npz(x=X, t=labels), content_type=NPZ).json
    assert (answer["model_version"], answer["learning_rate"], answer["count"]) == (2, 0.5, 5)
    assert answer["loss"] == pytest.approx(expected["loss"])


def test_examples_that_came_out_can_be_put_in(client: Client) -> None:
    beside = {"model_version": T, "rehearsed": T > 4}
    assert client.post("/accuracy", data=npz(x=X, t=T, **beside), content_type=NPZ).status_code == 200
    client.post("/train-step", json=as_json(X, T))
    examples = client.get("/examples").data
    assert client.post("/train-step", data=examples, content_type=NPZ).json["model_version"] == 3


def forged(descr: str, shape: object, data: bytes) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + data


def bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", forged("|u1", (200_000, 784), bytes(200_000 * 784)))
    return stream.getvalue()


BAD_ARRAYS: dict[str, tuple[bytes, list[object], str]] = {
    "nothing": (b"", [], "not a .npy file"),
    "text": (b"seven", [], "not a .npy file"),
    "cut": (npy(X)[:-1], [], "needs 3920 bytes, but 3919 follow"),
    "objects": (npy(np.array([{}, []], object)), [], "only plain numbers"),
    "records": (npy(np.zeros(2, [("a", "u1")])), [], "only plain numbers"),
    "a forged shape": (forged("<f4", (2**40, 784), b"1234"), [], "but 4 follow"),
    "a negative shape": (forged("<f4", (-1, 784), b""), [], "not a possible shape"),
    "an absurd header": (forged("<f4", "x" * 5000, b""), [], "not a .npy file"),
    "783 pixels": (npy(X[:, :-1]), [], "(n, 784)"),
    "28 × 27": (npy(X.reshape(5, 28, 28)[:, :, 1:]), [], "(n, 28, 28)"),
    "no image": (npy(X[:0]), [], "(0, 784)"),
    "one number": (npy(np.array(1, np.float32)), [], "shape ()"),
    "256": (npy(X.astype(np.int64) + 1), [0, int((X[0] == 255).argmax())], "the pixel is 256: expected 0…255"),
    "-1": (npy(X.astype(np.int16) - 1), [0, int((X[0] == 0).argmax())], "the pixel is -1: expected 0…255"),
    "truth values": (npy(X > 9), [], "an array of bool: expected uint8 or other whole numbers (0…255)"),
    "colours": (npy(np.repeat(X.reshape(5, 28, 28, 1), 3, axis=3)), [], "(5, 28, 28, 3)"),
    "complex": (npy(X.astype(complex)), [], "complex128"),
    "text inside": (npy(np.array(["a"] * 784)), [], "expected uint8"),
    "NaN": (npy(np.full((1, 784), np.nan)), [0, 0], "the pixel is NaN: expected 0…1"),
    "infinity": (npy(np.full((1, 784), np.inf, np.float32)), [0, 0], "the pixel is infinity"),
    "0…255 as floats": (npy(X.astype(np.float32)), [0, 0], "for pixels 0…255 send ?pixel_max=255"),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_an_array_that_can_t_be_used_is_answered_with_why(client: Client, kind: str) -> None:
    data, location, message = BAD_ARRAYS[kind]
    problem = is_problem(client.post("/predict", data=data, content_type=NPY), 422)
    assert message in problem["detail"]
    assert problem["errors"][0]["loc"] == location


def test_the_hint_at_pixel_max_names_the_query_where_whole_numbers_are_said_to_be_0_to_1(client: Client) -> None:
    problem = is_problem(client.post("/predict?pixel_max=1", data=npy(X), content_type=NPY), 422)
    assert "for pixels 0…255 send ?pixel_max=255" in problem["detail"]


@pytest.mark.parametrize(
    ("data", "location", "message"),
    [
        (npz(x=X), ["t"], "missing"),
        (npz(t=T), ["x"], "missing"),
        (npz(x=X, t=T[:-1]), ["t"], "4 labels for 5 images"),
        (npz(x=X, t=T + 10), ["t", 0], "expected a class number, 0…9"),
        (npz(x=X, t=T - 20), ["t", 0], "expected a class number, 0…9"),
        (npz(x=X, t=T + 0.5), ["t", 0], "expected a class number, 0…9"),
        (npz(x=X, t=T * np.nan), ["t", 0], "the label is nan: expected a class number, 0…9"),
        (npz(x=X, t=T.astype("S1")), ["t"], "expected (n,) class numbers or one-hot"),
        (npz(x=X, t=np.ones((5, 10))), ["t", 0], "not a one-hot label"),
        (npz(x=X, t=np.ones((5, 9))), ["t", 0], "expected 10"),
        (npz(x=X, t=np.array([{}] * 5, object)), [], "only plain numbers"),
        (npz(x=X, t=T)[:-50], [], "not a .npz file"),
        (npy(X), [], "not a .npz file"),
        (npz(x=X, t=T, learning_rate=0.5), ["learning_rate"], "no array of this name is read"),
        (npz(x=X, t=T, rehearse=1), ["rehearse"], "no array of this name is read"),
        (npz(x=X, t=T, pixel_max=255), ["pixel_max"], "no array of this name is read"),
        (npz(x=X, t=T, labels=T), ["labels"], "no array of this name is read: expected x"),
        (npz(x=X, t=T, **{"y" * 500: T}), [shortened("y" * 500)], "no array of this name is read"),
        (bomb, [], "more than the limit"),
    ],
)
def test_labelled_arrays_that_can_t_be_used_change_nothing(
    client: Client, data: bytes | Callable[[], bytes], location: list[object], message: str
) -> None:
    body = data() if callable(data) else data
    problem = is_problem(client.post("/train-step", data=body, content_type=NPZ), 422)
    assert message in problem["detail"]
    assert problem["errors"][0]["loc"] == location
    assert client.get("/versions").json["versions"][0]["model_version"] == 1


def test_labels_have_no_place_in_an_npy(client: Client) -> None:
    problem = is_problem(client.post("/train-step", data=npy(X), content_type=NPY), 415)
    assert NPZ in problem["detail"]


@given(data=st.data())
@hypothesis_settings(deadline=None, max_examples=100)
def test_no_damage_to_an_array_is_more_than_a_problem(data: st.DataObject) -> None:
    from model.safe_npz import NpyError, read_npz
    from service.decoders.npy import labels_of, pixels_of

    damaged = bytearray(npz(x=X[:1, :6], t=T[:1]))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        arrays = read_npz(bytes(damaged), 10_000)
        pixels = pixels_of(arrays["x"], SMALL, ("x",))
        labels_of(arrays["t"], len(pixels), SMALL)
    except (NpyError, Problem, KeyError):
        pass


SMALL = Weights(
    {"W1": np.zeros((6, 4), "f4"), "b1": np.zeros(4, "f4"), "W2": np.zeros((4, 3), "f4"), "b2": np.zeros(3, "f4")},
    image_shape=(3, 2),
)

pixel = (
    st.sampled_from([0, 1, 0.5, 1e-7, 255, 17, 0.1, -0.0, 3e300, -1e-9, 1.0000001, 255.0001, 1.0001])
    | st.integers(0, 255)
    | st.floats(0, 1)
)
strange: st.SearchStrategy[Any] = pixel | st.sampled_from(
    [None, True, "1", [], [1], [[1]], {}, 2**64, 2**70, -1, 1e308, float("nan")]
)


def lists_of(number: st.SearchStrategy[Any], *shape: int) -> st.SearchStrategy[Any]:
    """Lists within lists, of that shape."""
    for size in reversed(shape):
        number = st.lists(number, min_size=size, max_size=size)
    return number


def image_of(number: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    channels = lists_of(number, 3, 2, 1) | lists_of(number, 1, 3, 2)
    return lists_of(number, 6) | lists_of(number, 3, 2) | channels | st.lists(number, max_size=7)


picture = st.sampled_from(["", "aGVsbG8=", "data:image/png;base64,iVBO", "[[[[[[", "\u2603", "x" * 6])


bodies = st.fixed_dictionaries(
    {},
    optional={
        "images": st.lists(image_of(pixel) | picture, max_size=3) | st.lists(image_of(strange), max_size=2) | strange,
        "image": image_of(pixel) | strange | picture,
        "labels": st.lists(st.integers(0, 2) | st.sampled_from([1.0, 2.0, 0.5]) | strange, max_size=3)
        | st.just([[0, 1, 0]])
        | strange,
        "pixel_max": st.sampled_from([1, 255, 255.0, 1.5, True]) | strange,
        "learning_rate": pixel,
        "other": strange,
    },
)


READERS = pytest.mark.parametrize("reader", ["simdjson", "without"])
"""Where simdjson has no wheel, the numbers come from the objects that the body was read into."""


def read_by(reader: str, data: bytes) -> Any:
    return read_numbers(data, SMALL) if reader == "simdjson" else numbers_of(json.loads(data), SMALL)


@READERS
@given(body=bodies)
@hypothesis_settings(deadline=None, max_examples=200)
def test_the_quick_reader_takes_only_what_pydantic_takes_and_reads_the_same_numbers(
    reader: str, body: dict[str, Any]
) -> None:
    data = json.dumps(body).encode()
    quick = read_by(reader, data)
    if quick is None:
        return
    try:
        fields = TrainStepFields.model_validate(quick.fields)
    except ValueError:
        with pytest.raises(Problem):
            parse(data, TrainStepRequest)
        return
    whole: Any = parse(data, TrainStepRequest)
    assert fields.model_dump() == whole.model_dump(exclude={"images", "image"})
    images = [whole.image] if whole.image is not None else whole.images
    assert quick.values.tolist() == [np.ravel(image).tolist() for image in images]
    assert quick.single == (whole.image is not None)
    assert quick.in_rows == {n for n, image in enumerate(images) if isinstance(image[0], list)}
    pixel_max = fields.pixel_max or 1
    try:
        quick_pixels = checked_pixels(quick.values, pixel_max, lambda n, i: (n, i))
    except Problem:
        with pytest.raises(Problem, match="expected 0…"):
            images_of(whole, fields, SMALL)
    else:
        pixels = images_of(whole, fields, SMALL).pixels
        assert (pixels.dtype, pixels.tolist()) == (quick_pixels.dtype, quick_pixels.tolist())


@READERS
@given(
    images=st.lists(lists_of(pixel, 6) | lists_of(pixel, 3, 2), min_size=1, max_size=3),
    pixel_max=st.sampled_from([1, 255]),
)
@hypothesis_settings(deadline=None)
def test_the_quick_reader_takes_every_good_body(reader: str, images: list[Any], pixel_max: int) -> None:
    quick = read_by(reader, json.dumps({"images": images, "pixel_max": pixel_max}).encode())
    assert quick is not None
    assert quick.fields == {"pixel_max": pixel_max}
    assert quick.values.tolist() == [np.ravel(image).tolist() for image in images]
