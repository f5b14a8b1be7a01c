"""Somebody who trusts nothing but HTTP: recomputes every version from the log, by /weights, /versions and /examples.

`recomputed` does it with a few lines of numpy and none of the project's code, as closely as floats allow. `to_the_bit`
uses the project's own step, and nothing else of it.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import weights_file
from model.growth import grown
from model.online_step import Rehearsal, replay_step
from model.weights_file import Weights
from tests.processes.server import Server

Params = dict[str, NDArray[np.float32]]

ANCHORED = 40
"""Versions, after which it goes on from the weights that are served, once they have been compared: rounding grows from
step to step, since it decides about units at the edge of ReLU."""


def listed_versions(server: Server) -> list[dict[str, Any]]:
    """All of /versions, oldest first."""
    found: list[dict[str, Any]] = []
    before: int | None = None
    while True:
        page = server.get("/versions", params={"limit": 700, **({"before": before} if before else {})}).json()
        found += page["versions"]
        before = page["next_before"]
        if before is None:
            return found[::-1]


def all_examples(server: Server) -> dict[int, tuple[NDArray[np.float32], NDArray[np.int64], int]]:
    """All of /examples by version, with the remembered ones, and how many of each version were posted."""
    found: dict[int, tuple[NDArray[np.float32], NDArray[np.int64], int]] = {}
    after = 0
    while True:
        query = {"after": after, "limit": 5000, "rehearsed": "true"}
        with np.load(io.BytesIO(server.get("/examples", params=query).content)) as page:
            x, t, versions, rehearsed = page["x"], page["t"], page["model_version"], page["rehearsed"]
        if not len(t):
            return found
        for version in np.unique(versions):
            of_it = versions == version
            found[int(version)] = x[of_it], t[of_it], int((~rehearsed[of_it]).sum())
        after = int(versions[-1])


def weights_of(server: Server, version: int) -> Params:
    answer = server.get("/weights", params={"model_version": version})
    assert answer.headers["X-Model-Version"] == str(version)
    with np.load(io.BytesIO(answer.content)) as arrays:
        return {name: arrays[name] for name in ("W1", "b1", "W2", "b2")}


def recomputed(server: Server) -> Iterator[tuple[int, Params]]:
    """Every version that is kept and its weights, from the first one's weights and the steps alone."""
    examples = all_examples(server)
    versions = listed_versions(server)
    params: Params = {}
    known: dict[int, Params] = {}
    sources = {version["source_version"] for version in versions}
    first = versions[0]["model_version"]
    for number, version in enumerate(versions, first):
        assert version["model_version"] == number, "a version is missing or there twice"
        if version["kind"] == "load" or number == first or (version["source_version"] or first) < first:
            examples.pop(number, None)
            params = weights_of(server, number)
        elif version["kind"] == "rollback":
            params = known[version["source_version"]]
        elif version["kind"] in ("unlearn", "relabel", "grow"):
            params = weights_of(server, number)  # `to_the_bit` recomputes these
        else:
            x, t, posted = examples.pop(number)
            assert posted == version["count"]
            params = stepped(params, x, t, version["learning_rate"])
        yield number, params
        if number % ANCHORED == 0:
            params = weights_of(server, number)
        if number in sources:
            known[number] = params
    assert not examples


@dataclass
class Folded:
    """A version: the weights that its steps began with, those steps with their labels, oldest first, and the result.

    Among the steps, a text or None is a class more, with its name.
    """

    began: Weights
    steps: dict[int, NDArray[np.intp] | str | None]
    weights: Weights


def to_the_bit(server: Server) -> Iterator[tuple[int, bytes]]:
    """Every version's file, weights and memory, by the rule of docs/architecture.md: the fold of the steps that it
    contains. From the log as it is told over HTTP and the weights of loads alone, with the project's own step."""
    posted = {number: (x[:count], t[:count], len(t) - count) for number, (x, t, count) in all_examples(server).items()}
    versions = listed_versions(server)
    sources = {version["source_version"] for version in versions}
    known: dict[int, Folded] = {}

    def stepped(weights: Weights, number: int, labels: NDArray[np.intp] | str | None) -> Weights:
        if labels is None or isinstance(labels, str):
            return grown(weights, labels)
        version, (x, _, rehearsed) = versions[number - 1], posted[number]
        rehearsal = Rehearsal(number, rehearsed, version.get("memory_size", 0))
        return replay_step(weights, x, labels, version["learning_rate"], rehearsal)

    for number, version in enumerate(versions, 1):
        assert version["model_version"] == number
        if version["kind"] == "load":
            loaded = weights_file.from_bytes(server.get("/weights", params={"model_version": number}).content)
            newest = Folded(loaded, {}, loaded)
        elif version["kind"] == "rollback":
            newest = known[version["source_version"]]
        elif version["kind"] == "train-step":
            labels = posted[number][1].astype(np.intp)
            newest = Folded(newest.began, {**newest.steps, number: labels}, stepped(newest.weights, number, labels))
        elif version["kind"] == "grow":
            name = version.get("label_name")
            newest = Folded(newest.began, {**newest.steps, number: name}, grown(newest.weights, name))
        else:
            steps = newest.steps.copy()
            if version["kind"] == "unlearn":
                for one in version["unlearned"]:
                    del steps[one]
            else:
                assert version["source_version"] in steps
                steps[version["source_version"]] = np.array(version["labels"], np.intp)
            weights = newest.began
            for one, its_labels in steps.items():
                weights = stepped(weights, one, its_labels)
            newest = Folded(newest.began, steps, weights)
        if number in sources:
            known[number] = newest
        yield number, weights_file.to_bytes(newest.weights)


def stepped(params: Params, x: NDArray[np.float32], t: NDArray[np.int64], rate: float) -> Params:
    """w - rate * gradient, in float64 inside, float32 at the end.

    Whether a unit is on is decided in float32: where its input is next to nothing, the last bit says so, and with that
    whether it learns from an image.
    """
    w2, b2 = (params[name].astype(np.float64) for name in ("W2", "b2"))
    a = (x @ params["W1"] + params["b1"]).astype(np.float64)
    z = np.maximum(a, 0)
    y = softmax(z @ w2 + b2)
    y[np.arange(len(t)), t] -= 1
    y /= len(t)
    back = (y @ w2.T) * (a > 0)
    gradient = {"W1": x.T @ back, "b1": back.sum(0), "W2": z.T @ y, "b2": y.sum(0)}
    return {name: (params[name] - rate * gradient[name]).astype(np.float32) for name in params}


def probabilities(params: Params, x: NDArray[np.float32]) -> NDArray[np.float64]:
    return softmax(np.maximum(x @ params["W1"] + params["b1"], 0) @ params["W2"] + params["b2"])


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    exponential = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = exponential / exponential.sum(axis=1, keepdims=True)
    return result
