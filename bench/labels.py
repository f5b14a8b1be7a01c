"""What it saves to ask for the labels that matter, and to have an alarm.

Both are of the service itself, in this process, with the default settings but where it is said, begun with a network
that `twolayernet train` made. `python -m bench.labels [--data DIR]` prints two tables:

- how many labels it takes to come to an accuracy on images turned by 30 degrees. They come a hundred at a time and are
  remembered; then ten of those that wait get their labels, in the order in which they came, or the most uncertain ones
  (GET /predictions?order=uncertain);
- what 30 % of wrong labels from some point on do to a network, without an alarm and with one.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flask.testing import FlaskClient

from bench.online import THIRTY_DEGREES, Stream, as_stream, mislabelled, pairs, trained
from model import weights as weights_file
from model.augmentation import turned
from model.datasets import Dataset, load_dataset
from model.weights import Weights
from service.app import create_app
from service.settings import Settings

COME, LABELLED = 100, 10
"""Images at a time."""

GOALS = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
CLEAN, POISONED, WRONG = 3000, 3000, 0.3


class Service:
    """Requests to a service of its own."""

    def __init__(self, folder: Path, weights: Weights, **settings: Any) -> None:
        weights_file.save(folder / "weights.npz", weights)
        store = f"sqlite:///{folder}/store.db"
        self.app = create_app(Settings(_env_file=None, weights=folder / "weights.npz", store=store, **settings))
        self.client: FlaskClient = self.app.test_client()

    def post(self, path: str, **arrays: Any) -> Any:
        body = io.BytesIO()
        if len(arrays) == 1:
            np.save(body, arrays["x"])
        else:
            np.savez(body, **arrays)
        kind = "application/x-npy" if len(arrays) == 1 else "application/x-npz"
        return self.client.post(path, data=body.getvalue(), content_type=kind)

    def accuracy(self, stream: Stream) -> float:
        return float(self.post("/accuracy", x=stream[0], t=stream[1]).json["accuracy"])


def with_service(weights: Weights, work: Callable[[Service], Any], **settings: Any) -> Any:
    with tempfile.TemporaryDirectory() as name:
        return work(Service(Path(name), weights, **settings))


def labels_needed(order: str, stream: Stream, asked: Stream) -> Callable[[Service], list[tuple[int, float]]]:
    """After how many labels, which accuracy."""

    def work(service: Service) -> list[tuple[int, float]]:
        label_of: dict[str, int] = {}
        found = [(0, service.accuracy(asked))]
        for at in range(0, len(stream[1]), COME):
            x, t = stream[0][at : at + COME], stream[1][at : at + COME]
            came = service.post("/predict?remember=true", x=x).json["prediction_ids"]
            label_of |= dict(zip(came, t.tolist(), strict=True))
            page = service.client.get(f"/predictions?order=uncertain&limit={LABELLED}").json
            assert page is not None
            uncertain = [entry["prediction_id"] for entry in page["predictions"]]
            for id_ in came[:LABELLED] if order == "in order" else uncertain:
                body = {"prediction_ids": [id_], "labels": [label_of[id_]]}
                assert service.client.post("/train-step", json=body).status_code == 200
            found.append((found[-1][0] + LABELLED, service.accuracy(asked)))
        return found

    return work


def print_labels(dataset: Dataset, weights: Weights) -> None:
    x, t = as_stream(dataset.test.images, dataset.test.labels)
    x = turned(x.copy(), dataset.image_shape, THIRTY_DEGREES)
    half = len(t) // 2
    stream, asked = (x[:half], t[:half]), (x[half:], t[half:])
    print(f"labels until so many test images turned by 30° are recognised; {half:,} came\n")
    print(f"| labelled | before | {' | '.join(f'{goal:.0%}' for goal in GOALS)} | after {half * LABELLED // COME} |")
    print("| --- |" + " ---: |" * (len(GOALS) + 2))
    for order in ("in order", "the most uncertain first"):
        found = with_service(weights, labels_needed(order, stream, asked))
        needed = [next((str(count) for count, accuracy in found if accuracy >= goal), "more") for goal in GOALS]
        print(f"| {order} | {found[0][1]:.1%} | {' | '.join(needed)} | {found[-1][1]:.1%} |", flush=True)


def poisoned(stream: Stream, asked: Stream) -> Callable[[Service], tuple[list[str], list[bool]]]:
    """A row of the table, and which images were recognised before they were learnt."""

    def work(service: Service) -> tuple[list[str], list[bool]]:
        hits: list[bool] = []
        lowest, before = 1.0, 0.0
        for n, (x, t) in enumerate(pairs(stream)):
            answer = service.post("/train-step", x=x[np.newaxis], t=[t])
            hits += [answer.json["accuracy"] == 1] if answer.status_code == 200 else []
            if n + 1 == CLEAN:
                before = service.accuracy(asked)
            if n >= CLEAN and n % 50 == 0:
                lowest = min(lowest, service.accuracy(asked))
        page = service.client.get("/versions?limit=1000").json
        assert page is not None
        acts = 0
        first = 0
        while True:
            for version in page["versions"]:
                if version.get("event") == "alarm":
                    acts, first = acts + 1, version["model_version"]
            if page["next_before"] is None:
                break
            page = service.client.get(f"/versions?limit=1000&before={page['next_before']}").json
            assert page is not None
        after = str(first - 2 - CLEAN) if acts else "–"
        return [f"{before:.1%}", f"{lowest:.1%}", f"{service.accuracy(asked):.1%}", after, str(acts)], hits

    return work


def print_alarm(dataset: Dataset, weights: Weights) -> None:
    x, t = as_stream(dataset.test.images, dataset.test.labels)
    half = len(t) // 2
    chosen = np.resize(np.random.default_rng(0).permutation(half), CLEAN + POISONED)
    stream = mislabelled((x[chosen], t[chosen]), WRONG, dataset.classes, first=CLEAN)
    asked = x[half:], t[half:]
    print(f"\n{CLEAN:,} right labels, then {POISONED:,} of which {WRONG:.0%} are wrong; test accuracy\n")
    print("| alarm | before | lowest after | at the end | first act after | acts |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for act in ("off", "pause", "rollback"):
        found, hits = with_service(weights, poisoned(stream, asked), alarm=act)
        print(f"| {act} | {' | '.join(found)} |", flush=True)
        if act == "off":
            print_detectors(hits)


def print_detectors(hits: list[bool]) -> None:
    """When drift tests of River, with their own defaults, say that the errors have changed: the false alarms of the
    right labels, and the first after them."""
    try:
        from river import drift
    except ImportError:
        print("river is not installed", file=sys.stderr)
        return
    for name, test in (("River ADWIN", drift.ADWIN()), ("River Page-Hinkley", drift.PageHinkley())):
        seen = []
        for n, hit in enumerate(hits):
            test.update(1 - hit)
            if test.drift_detected:
                seen.append(n + 1)
        false, right = [n for n in seen if n <= CLEAN], [n - CLEAN for n in seen if n > CLEAN]
        first = min(right, default="–")
        print(f"| {name} (only looks) | | | | {first} | {len(false)} false |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    dataset = load_dataset(parser.parse_args().data)
    weights = trained(dataset)
    print_labels(dataset, weights)
    print_alarm(dataset, weights)


if __name__ == "__main__":
    main()
