"""One version, one set of weights, to the bit: for the worker that wrote it, for one that follows, after a restart."""

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from model import weights_file
from model.datasets import pixels_to_input
from service.app import create_app
from service.live.replica import replayed_step
from service.settings import Settings
from service.store.log import StepLog
from tests.conftest import CLASSES, FEATURES, Client

NPZ = "application/x-npz"


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """The same numbers, otherwise in memory."""
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "strided":
        return np.repeat(array, 2, axis=0)[::2]
    if layout == "reversed":
        return np.ascontiguousarray(array[::-1])[::-1]
    if layout == "unaligned":
        raw = np.zeros(array.nbytes + 1, np.uint8)
        raw[1:] = np.frombuffer(array.tobytes(), np.uint8)
        return raw[1:].view(array.dtype).reshape(array.shape)
    return array


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def body_of(pixels: np.ndarray, labels: np.ndarray, kind: str, layout: str) -> dict[str, Any]:
    if kind == "json bytes":
        body = {"images": pixels.tolist(), "pixel_max": 255, "labels": labels.tolist()}
        return {"data": json.dumps(body), "content_type": "application/json"}
    if kind == "json floats":
        body = {"images": (pixels / 255).tolist(), "labels": labels.tolist()}
        return {"data": json.dumps(body), "content_type": "application/json"}
    x = pixels if kind == "|u1" else (pixels / 255).astype(kind)
    return {"data": npz(x=laid_out(x, layout), t=labels), "content_type": NPZ}


lessons = st.tuples(
    st.integers(1, 64),
    st.sampled_from(["|u1", "<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "json bytes", "json floats"]),
    st.sampled_from(["c", "fortran", "strided", "reversed", "unaligned"]),
    st.integers(0, 2**32 - 1),
)


@pytest.mark.parametrize("examples", [2, pytest.param(20, marks=pytest.mark.long)])
def test_no_property_of_a_body_makes_a_difference(settings: Settings, examples: int) -> None:
    @given(st.lists(lessons, min_size=1, max_size=4))
    @example([(7, "<f4", "fortran", 1), (20, ">f4", "fortran", 2), (2, "|u1", "fortran", 3)])
    @hypothesis_settings(max_examples=examples, deadline=None, derandomize=True)
    def try_it(steps: list[tuple[int, str, str, int]]) -> None:
        it_makes_no_difference(settings, steps)

    try_it()


def it_makes_no_difference(settings: Settings, steps: list[tuple[int, str, str, int]]) -> None:
    writer, follower = Client(create_app(settings)), Client(create_app(settings))
    for count, kind, layout, seed in steps:
        random = np.random.default_rng(seed)
        pixels = random.integers(0, 256, (count, FEATURES), dtype=np.uint8)
        body = body_of(pixels, random.integers(0, CLASSES, count), kind, layout)
        answer = writer.post("/train-step", **body)
        assert answer.status_code == 200, answer.data
    restarted = Client(create_app(settings))
    tags = {client.get("/weights").headers["ETag"] for client in (writer, follower, restarted)}
    assert len(tags) == 1
    served = weights_file.from_bytes(writer.get("/weights").data)
    log = StepLog.at(settings.store)
    with log.reading() as reader:
        first = reader.latest_snapshot(0, 1)
        assert first is not None
        assert first.snapshot is not None
        weights = weights_file.from_bytes(first.snapshot)
        for step in reader.steps(1, reader.head()):
            assert pixels_to_input(step.examples.pixels).flags.c_contiguous
            weights = replayed_step(weights, step)
    for name, array in served.params.items():
        assert (array == weights.params[name]).all()
    for client in (writer, follower, restarted):
        client.close()


def test_what_went_before_is_not_said_of_weights_that_were_learnt_since(settings: Settings) -> None:
    """Whether a worker followed step by step or began at a snapshot, it gives out the same file."""
    weights = weights_file.load(settings.weights)
    weights_file.save(settings.weights, replace(weights, training={"dataset": "digits"}))
    writer = Client(create_app(settings.model_copy(update={"snapshot_every": 3})))
    random = np.random.default_rng(0)
    for version in range(2, 8):
        body = body_of(random.integers(0, 256, (2, FEATURES), dtype=np.uint8), np.array([1, 2]), "|u1", "c")
        assert writer.post("/train-step", **body).json["model_version"] == version
        restarted = Client(create_app(settings))
        assert restarted.get("/weights").headers["ETag"] == writer.get("/weights").headers["ETag"]
        first = weights_file.from_bytes(restarted.get("/weights?model_version=1").data)
        assert first.training == {"dataset": "digits"}
        restarted.close()


@pytest.mark.parametrize("layout", ["fortran", "strided"])
def test_a_prediction_does_not_depend_on_a_layout(settings: Settings, layout: str) -> None:
    client = Client(create_app(settings))
    x = np.random.default_rng(0).random((7, FEATURES)).astype(np.float32)
    answers = []
    for array in (x, laid_out(x, layout)):
        stream = io.BytesIO()
        np.save(stream, array)
        answers.append(client.post("/predict", data=stream.getvalue(), content_type="application/x-npy").json)
    assert answers[0] == answers[1]
