"""What a live network learns and forgets, one image at a time, beside others that learn online.

The first table: a network that was trained is taught something, and is then asked about test images that nobody posted.
The second has steps of which many labels are wrong. The others: test-then-train, each image predicted, then learnt, in
windows of 1,000: from an untrained network; and from one whose input changes half-way, its pixels permuted or its
images turned by 45 degrees. The service's steps are taken by the functions that the service takes them with; River's
softmax regression and scikit-learn's MLP by partial_fit get the same streams. `python -m bench.online [--data DIR]
[--images N] [--out DIR]` prints the tables and writes a plot; what is not installed (dependency group `bench`) is left
out.
"""

import argparse
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from model import TwoLayerNet
from model.augmentation import turned
from model.datasets import Dataset, load_dataset
from model.online_step import online_step, planned
from model.replay_memory import sample
from model.training import Trainer, TrainingOptions
from model.types import FloatArray, IntArray
from model.weights_file import Weights
from service.settings import Settings

WINDOW = 1000
BEFORE = 5000
"""Images that the contenders of the windows that are not untrained have learnt before, and River and scikit-learn
before they are taught something."""

WRONG_STEPS = (1000, 2000, 5000, 20_000)
THIRTY_DEGREES = np.pi / 6
DEFAULTS = Settings(_env_file=None)

Stream = tuple[FloatArray, IntArray]


class Learner(ABC):
    @abstractmethod
    def predict(self, x: FloatArray) -> IntArray:
        """Classes, (n,). x: (n, features)."""

    @abstractmethod
    def learn(self, x: FloatArray, t: int) -> None:
        """x: one image, (features,)."""

    def accuracy(self, stream: Stream) -> float:
        return float((self.predict(stream[0]) == stream[1]).mean())


class Live(Learner):
    """The service's model: as many steps as there are images, with the default settings but for those given."""

    def __init__(
        self, weights: Weights, rehearse: int = DEFAULTS.rehearse, memory_size: int = DEFAULTS.memory_size
    ) -> None:
        self.weights = weights
        self.rehearse = rehearse
        self.memory_size = memory_size
        self.version = 1

    def predict(self, x: FloatArray) -> IntArray:
        classes: IntArray = self.weights.network().predict(x).argmax(axis=1)
        return classes

    def learn(self, x: FloatArray, t: int) -> None:
        self.learn_batch(x[np.newaxis], np.array([t]))

    def learn_batch(self, x: FloatArray, t: IntArray) -> None:
        self.version += 1
        rehearsal = planned(self.weights, self.version, len(t), self.rehearse, self.memory_size)
        self.weights = online_step(self.weights, x, t, DEFAULTS.learning_rate, rehearsal=rehearsal).weights


class River(Learner):
    def __init__(self) -> None:
        from river import linear_model

        self.model = linear_model.SoftmaxRegression()

    def predict(self, x: FloatArray) -> IntArray:
        found = [self.model.predict_one(dict(enumerate(image.tolist()))) for image in x]
        return np.array([-1 if label is None else label for label in found])

    def learn(self, x: FloatArray, t: int) -> None:
        self.model.learn_one(dict(enumerate(x.tolist())), t)


class ScikitLearn(Learner):
    def __init__(self, classes: int) -> None:
        from sklearn.neural_network import MLPClassifier

        self.model = MLPClassifier((50,), random_state=0)
        self.classes = np.arange(classes)
        self.began = False

    def predict(self, x: FloatArray) -> IntArray:
        if not self.began:
            return np.full(len(x), -1)
        classes: IntArray = self.model.predict(x)
        return classes

    def learn(self, x: FloatArray, t: int) -> None:
        self.model.partial_fit(x[np.newaxis], [t], classes=self.classes)
        self.began = True


Contender = Callable[[Stream | None], Learner]
"""Given what it has learnt before, an image at a time, or nothing."""


def contenders(classes: int, image_shape: tuple[int, int] | None) -> dict[str, Contender]:
    def live(rehearse: int) -> Contender:
        return lambda before: Live(Weights(plainly_trained(before, classes), image_shape=image_shape), rehearse)

    def other(make: Callable[[], Learner]) -> Contender:
        def after(before: Stream | None) -> Learner:
            learner = make()
            for x, t in pairs(before) if before else ():
                learner.learn(x, t)
            return learner

        return after

    return {
        "plain step (rehearse 0)": live(0),
        f"with rehearsal ({DEFAULTS.rehearse}, the default)": live(DEFAULTS.rehearse),
        "River softmax": other(River),
        "scikit-learn MLP": other(lambda: ScikitLearn(classes)),
    }


def plainly_trained(before: Stream | None, classes: int, features: int = 784) -> dict[str, FloatArray]:
    """Untrained, or after one pass over what came before, an image at a time; it remembers nothing of that."""
    features = features if before is None else before[0].shape[1]
    network = TwoLayerNet(features, 50, classes, "he", seed=0, dtype=np.float32)
    for x, t in pairs(before) if before else ():
        gradient = network.gradient(x[np.newaxis], np.array([t]))
        network.params = {name: array - np.float32(0.02) * gradient[name] for name, array in network.params.items()}
    return network.params


def pairs(stream: Stream) -> Iterator[tuple[FloatArray, int]]:
    return zip(stream[0], stream[1].tolist(), strict=True)


@dataclass(frozen=True)
class Lesson:
    """What is posted, and what is asked afterwards; only_mistakes: so many, of images that were not recognised."""

    title: str
    stream: Stream
    asked: dict[str, Stream]
    only_mistakes: int | None = None

    def teach(self, learner: Learner) -> list[float]:
        """Accuracies afterwards, in the order of `asked`."""
        if self.only_mistakes is None:
            for x, t in pairs(self.stream):
                learner.learn(x, t)
        else:
            wrong = ((x, t) for x, t in pairs(self.stream) if learner.predict(x[np.newaxis])[0] != t)
            for x, t in islice(wrong, self.only_mistakes):
                learner.learn(x, t)
        return [learner.accuracy(stream) for stream in self.asked.values()]


def lessons(dataset: Dataset) -> list[Lesson]:
    """Of the first half of the test images, over and over if need be; asked about the second half."""
    x, t = as_stream(dataset.test.images, dataset.test.labels)
    half = len(t) // 2
    asked: Stream = (x[half:], t[half:])

    def posted(count: int, label: int | None = None, seed: int = 0) -> Stream:
        order = np.random.default_rng(seed).permutation(half)
        order = order if label is None else order[t[order] == label]
        chosen = np.resize(order, count)
        return x[chosen], t[chosen]

    def turned_by(stream: Stream, angle: float) -> Stream:
        return turned(stream[0].copy(), dataset.image_shape, angle), stream[1]

    right = turned_by(posted(2000), -THIRTY_DEGREES)
    left = turned_by(posted(2000, seed=1), THIRTY_DEGREES)
    both = np.concatenate([right[0], left[0]]), np.concatenate([right[1], left[1]])
    return [
        Lesson("200 sevens", posted(200, 7), {"all": asked}),
        Lesson(
            "500 corrections of digits turned by 30°",
            turned_by(posted(20_000), THIRTY_DEGREES),
            {"upright": asked, "turned": turned_by(asked, THIRTY_DEGREES)},
            only_mistakes=500,
        ),
        *(
            Lesson(
                f"{count:,} steps, 30 % of the labels wrong",
                mislabelled(posted(count), 0.3, dataset.classes),
                {"all": asked},
            )
            for count in (2000, 20_000)
        ),
        Lesson(
            "2,000 turned to the right, then 2,000 to the left",
            both,
            {"right": turned_by(asked, -THIRTY_DEGREES), "left": turned_by(asked, THIRTY_DEGREES), "upright": asked},
        ),
    ]


def mislabelled(stream: Stream, share: float, classes: int, first: int = 0) -> Stream:
    """From image `first` on, so many of the labels are wrong."""
    random, labels = np.random.default_rng(0), stream[1].copy()
    wrong = (random.random(len(labels)) < share) & (np.arange(len(labels)) >= first)
    labels[wrong] = (labels[wrong] + random.integers(1, classes, int(wrong.sum()))) % classes
    return stream[0], labels


def trained(dataset: Dataset) -> Weights:
    """As `twolayernet train` does it."""
    trainer = Trainer(dataset, TrainingOptions())
    for _ in trainer.epochs():
        pass
    return trainer.weights()


def as_stream(images: Any, labels: Any) -> Stream:
    return images.astype(np.float32) / np.float32(255), labels.astype(np.intp)


def print_wrong_labels(dataset: Dataset, weights: Weights) -> None:
    """As many steps as the largest of WRONG_STEPS, with memories of several sizes."""
    x, t = as_stream(dataset.test.images, dataset.test.labels)
    half = len(t) // 2
    posted = np.resize(np.random.default_rng(0).permutation(half), WRONG_STEPS[-1])
    stream = mislabelled((x[posted], t[posted]), 0.3, dataset.classes)
    print(f"\n30 % of the labels wrong\n\n| remembers | at most | before | {' | '.join(map(str, WRONG_STEPS))} |")
    print("| ---: | ---: | ---: |" + " ---: |" * len(WRONG_STEPS))
    for images, size in ((1000, 1000), (1000, 5000), (100, 1000)):
        memory = sample(dataset.train.images, dataset.train.labels, images, seed=0)
        learner = Live(replace(weights, memory=memory), memory_size=size)
        found = [learner.accuracy((x[half:], t[half:]))]
        for step, (image, label) in enumerate(pairs(stream), 1):
            learner.learn(image, label)
            if step in WRONG_STEPS:
                found.append(learner.accuracy((x[half:], t[half:])))
        print(f"| {images:,} | {size:,} | {' | '.join(f'{accuracy:.1%}' for accuracy in found)} |", flush=True)


def print_lessons(dataset: Dataset, weights: Weights) -> None:
    first = np.random.default_rng(0).permutation(len(dataset.train))[:BEFORE]
    before = as_stream(dataset.train.images[first], dataset.train.labels[first])
    found: dict[str, list[list[float]]] = {}
    taught = lessons(dataset)
    for name, contender in contenders(dataset.classes, dataset.image_shape).items():
        for lesson in taught:
            try:
                if "rehearse" in name or "rehearsal" in name:
                    learner: Learner = Live(weights, 0 if "plain" in name else DEFAULTS.rehearse)
                else:
                    learner = contender(before)
            except ImportError as error:
                print(f"{name}: {error.name} is not installed", file=sys.stderr)
                break
            accuracies = [learner.accuracy(stream) for stream in lesson.asked.values()]
            found.setdefault(name, []).append([*accuracies, *lesson.teach(learner)])
    print(f"\ntaught one image at a time\n\n| | asked about | {' | '.join(found)} |")
    print("| --- | --- |" + " ---: |" * len(found))
    for number, lesson in enumerate(taught):
        for at, kind in enumerate(lesson.asked):
            cells = [f"{row[number][at]:.1%} → {row[number][at + len(lesson.asked)]:.1%}" for row in found.values()]
            print(f"| {lesson.title if at == 0 else ''} | {kind} | {' | '.join(cells)} |", flush=True)


def streams(dataset: Dataset, images: int) -> dict[str, tuple[Stream, Stream | None]]:
    order = np.random.default_rng(0).permutation(len(dataset.train))
    x, t = as_stream(dataset.train.images[order], dataset.train.labels[order])
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


def test_then_train(learner: Learner, stream: Stream) -> Iterator[bool]:
    """Whether each image was recognised, before it was learnt."""
    for x, t in pairs(stream):
        yield bool(learner.predict(x[np.newaxis])[0] == t)
        learner.learn(x, t)


def windows(hits: list[bool]) -> list[float]:
    return [float(np.mean(hits[i : i + WINDOW])) for i in range(0, len(hits), WINDOW)]


def print_windows(dataset: Dataset, images: int) -> dict[str, dict[str, list[bool]]]:
    results: dict[str, dict[str, list[bool]]] = {}
    for title, (stream, before) in streams(dataset, images).items():
        results[title] = {}
        for name, contender in contenders(dataset.classes, dataset.image_shape).items():
            try:
                results[title][name] = list(test_then_train(contender(before), stream))
            except ImportError as error:
                print(f"{name}: {error.name} is not installed", file=sys.stderr)
        found = {name: windows(hits) for name, hits in results[title].items()}
        count = max(map(len, found.values()))
        print(f"\n{title}\n\n| | {' | '.join(f'…{(i + 1) * WINDOW:,}' for i in range(count))} |")
        print("| --- |" + " ---: |" * count)
        for name, accuracies in found.items():
            print(f"| {name} | {' | '.join(f'{accuracy:.1%}' for accuracy in accuracies)} |", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path("report"))
    options = parser.parse_args()
    dataset = load_dataset(options.data)
    weights = trained(dataset)
    print_lessons(dataset, weights)
    print_wrong_labels(dataset, weights)
    results = print_windows(dataset, options.images)
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
