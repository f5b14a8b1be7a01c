"""What it saves to ask for the labels that matter.

Of the service itself, in this process, with the default settings, begun with a network that `twolayernet train` made.
`python -m bench.labels [--data DIR]` prints how many labels it takes to come to an accuracy on images
turned by 30 degrees. They come a hundred at a time and are remembered; then ten of those that wait get their labels, in
the order in which they came, or the most uncertain ones (GET /predictions?order=uncertain).
"""

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flask.testing import FlaskClient

from bench.online import THIRTY_DEGREES, Stream, as_stream, trained
from model import weights_file
from model.augmentation import turned
from model.datasets import Dataset, load_dataset
from model.weights_file import Weights
from service.app import create_app
from service.settings import Settings

COME, LABELLED = 100, 10
"""Images at a time."""

GOALS = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9)


class Service:
    """Requests to a service of its own."""

    def __init__(self, folder: Path, weights: Weights, **settings: Any) -> None:
        weights_file.save(folder / "weights.npz", weights)
        store = f"sqlite:///{folder}/store.db"
        self.app = create_app(
            Settings(_env_file=None, weights=folder / "weights.npz", store=store, access_log="off", **settings)
        )
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    dataset = load_dataset(parser.parse_args().data)
    weights = trained(dataset)
    print_labels(dataset, weights)


if __name__ == "__main__":
    main()
