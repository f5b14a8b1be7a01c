"""Learning online, test-then-train: each image is predicted, then learnt, one after the other.

The service gets them through /train-step, with each of its optimisers; River's softmax regression and scikit-learn's
MLP by partial_fit get the same stream. Three streams: from an untrained network; and from a trained one whose input
changes half-way, its pixels permuted or its images turned by 45 degrees.
`python -m bench.online [--data DIR] [--images N] [--out DIR]` prints tables of the accuracy in windows of 1,000 images
and writes a plot of it; what is not installed (dependency group `bench`) is left out.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests

from bench.load import free_port, gunicorn, running
from model import TwoLayerNet
from model import weights as weights_file
from model.augmentation import turned
from model.datasets import load_dataset
from model.types import FloatArray, IntArray
from model.weights import Weights

WINDOW = 1000
BEFORE = 5000
"""Images that the contenders that are not untrained have learnt before."""

Stream = tuple[FloatArray, IntArray]
Learner = Callable[[Stream, Stream | None], Iterator[bool]]
"""Given a stream and what was learnt before it: whether each image was recognised, before it was learnt."""


def service_with(optimizer: str) -> Learner:
    def learn(stream: Stream, before: Stream | None) -> Iterator[bool]:
        with tempfile.TemporaryDirectory() as name:
            folder, port = Path(name), free_port()
            weights_file.save(folder / "weights.npz", starting_point(stream, before))
            command = gunicorn("service.wsgi:app", port, "-c", "python:service.server.gunicorn_settings")
            settings = {"TWOLAYERNET_WORKERS": "1", "TWOLAYERNET_OPTIMIZER": optimizer}
            with running(command, folder, port, **settings), requests.Session() as session:
                for x, t in zip(*stream, strict=True):
                    body = io.BytesIO()
                    np.savez(body, x=x, t=[t])
                    answer = session.post(
                        f"http://127.0.0.1:{port}/train-step",
                        data=body.getvalue(),
                        headers={"Content-Type": "application/x-npz"},
                    )
                    answer.raise_for_status()
                    yield answer.json()["accuracy"] == 1

    return learn


def starting_point(stream: Stream, before: Stream | None) -> Weights:
    """Untrained, or after one pass over what came before, an image at a time."""
    network = TwoLayerNet(stream[0].shape[1], 50, 10, "he", seed=0, dtype=np.float32)
    if before is not None:
        for i in range(len(before[1])):
            gradient = network.gradient(before[0][i : i + 1], before[1][i : i + 1])
            network.params = {name: array - np.float32(0.02) * gradient[name] for name, array in network.params.items()}
    return Weights(network.params)


def river_softmax(stream: Stream, before: Stream | None) -> Iterator[bool]:
    from river import linear_model

    model = linear_model.SoftmaxRegression()
    for x, t in zip(*(before or ([], [])), strict=True):
        model.learn_one(dict(enumerate(x.tolist())), int(t))
    for x, t in zip(*stream, strict=True):
        features = dict(enumerate(x.tolist()))
        yield model.predict_one(features) == t
        model.learn_one(features, int(t))


def scikit_learn_mlp(stream: Stream, before: Stream | None) -> Iterator[bool]:
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((50,), random_state=0)
    classes = np.arange(10)
    for i in range(0 if before is None else len(before[1])):
        assert before is not None
        model.partial_fit(before[0][i : i + 1], before[1][i : i + 1], classes=classes)
    for i, t in enumerate(stream[1]):
        yield i + BEFORE * (before is not None) > 0 and model.predict(stream[0][i : i + 1])[0] == t
        model.partial_fit(stream[0][i : i + 1], stream[1][i : i + 1], classes=classes)


LEARNERS: dict[str, Learner] = {
    "service, sgd": service_with("sgd"),
    "service, adagrad": service_with("adagrad"),
    "River softmax": river_softmax,
    "scikit-learn MLP": scikit_learn_mlp,
}


def streams(data: str, images: int) -> dict[str, tuple[Stream, Stream | None]]:
    dataset = load_dataset(data)
    order = np.random.default_rng(0).permutation(len(dataset.train))
    x = dataset.train.images[order].astype(np.float32) / np.float32(255)
    t = dataset.train.labels[order].astype(np.intp)
    before = (x[:BEFORE], t[:BEFORE])
    later = x[BEFORE : BEFORE + images], t[BEFORE : BEFORE + images]
    if len(later[1]) < images:  # a small set: what was learnt before comes again
        later = x[:images], t[:images]
    half = len(later[1]) // 2
    permutation = np.random.default_rng(1).permutation(x.shape[1])
    permuted, rotated = later[0].copy(), later[0].copy()
    permuted[half:] = permuted[half:, permutation]
    rotated[half:] = turned(rotated[half:], dataset.image_shape, np.pi / 4)
    return {
        "from an untrained network": ((x[:images], t[:images]), None),
        "from a trained one, pixels permuted half-way": ((permuted, later[1]), before),
        "from a trained one, images turned by 45° half-way": ((rotated, later[1]), before),
    }


def windows(hits: list[bool]) -> list[float]:
    return [float(np.mean(hits[i : i + WINDOW])) for i in range(0, len(hits), WINDOW)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path("report"))
    options = parser.parse_args()
    results: dict[str, dict[str, list[bool]]] = {}
    for title, (stream, before) in streams(options.data, options.images).items():
        results[title] = {}
        for name, learner in LEARNERS.items():
            try:
                results[title][name] = [bool(hit) for hit in learner(stream, before)]
            except ImportError as error:
                print(f"{name}: {error.name} is not installed", file=sys.stderr)
        found = {name: windows(hits) for name, hits in results[title].items()}
        count = max(map(len, found.values()))
        print(f"\n{title}\n\n| | {' | '.join(f'…{(i + 1) * WINDOW:,}' for i in range(count))} |")
        print("| --- |" + " ---: |" * count)
        for name, accuracies in found.items():
            print(f"| {name} | {' | '.join(f'{accuracy:.1%}' for accuracy in accuracies)} |", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    draw(results).savefig(options.out / "online.png", dpi=130)
    print(f"\nplot: {options.out / 'online.png'}")


def draw(results: dict[str, dict[str, list[bool]]]) -> Any:
    """The accuracy over the last WINDOW / 2 images."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(5 * len(results), 3.8), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(results), sharey=True), results.items(), strict=True):
        for name, hits in curves.items():
            sums = np.concatenate([[0], np.cumsum(hits)])
            end = np.arange(1, len(sums))
            begin = np.maximum(end - WINDOW // 2, 0)
            axes.plot(end, (sums[end] - sums[begin]) / (end - begin), label=name, linewidth=1.4)
        axes.set(title=title, xlabel="images", ylim=(0.3, 1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", fontsize=8)
    return figure


if __name__ == "__main__":
    main()
