"""How a live network learns classes that come one after the other, by the functions that the service learns with.

The first table: the classes two by two (class-incremental Split-MNIST), in one pass, in batches of ten, from an
untrained network that is asked about all of them at the end. The second: a network that was trained on all classes but
one gets this one, an image at a time, and is asked about test images of the new class and of the old ones. `python -m
bench.classes [--data DIR] [--runs N]` prints them; River's softmax regression (dependency group `bench`) is left out
where it is not installed.
"""

import argparse
import sys
from dataclasses import replace

import numpy as np

from bench.online import Learner, Live, River, Stream, as_stream
from model.datasets import Dataset, load_dataset
from model.datasets.dataset import Split
from model.growth import grown
from model.training import Trainer, TrainingOptions
from model.types import IntArray
from model.untrained import untrained
from model.weights_file import Weights

BATCH = 10
ASKED_AFTER = (50, 100, 200, 500)


def two_by_two(dataset: Dataset, seed: int) -> list[IntArray]:
    """The numbers of the training images, in batches."""
    random, labels = np.random.default_rng(seed), dataset.train.labels
    tasks = [np.flatnonzero(labels // 2 == task) for task in range((dataset.classes + 1) // 2)]
    return [batch for task in tasks for batch in np.array_split(random.permutation(task), max(1, len(task) // BATCH))]


def split_accuracy(learner: Learner, dataset: Dataset, seed: int) -> float:
    for batch in two_by_two(dataset, seed):
        x, t = as_stream(dataset.train.images[batch], dataset.train.labels[batch])
        if isinstance(learner, Live):
            learner.learn_batch(x, t)
        else:
            for image, label in zip(x, t.tolist(), strict=True):
                learner.learn(image, label)
    return learner.accuracy(as_stream(dataset.test.images, dataset.test.labels))


def print_split(dataset: Dataset, runs: int) -> None:
    print("\nclasses two by two, in one pass, all asked at the end\n\n| | accuracy |\n| --- | ---: |")
    for hidden in (50, 400):
        found = [
            split_accuracy(Live(untrained(dataset.image_shape, hidden, dataset.classes, seed=run)), dataset, run)
            for run in range(runs)
        ]
        print(f"| {hidden} hidden units | {np.mean(found):.1%} ± {np.std(found):.1%} |", flush=True)
    try:
        print(f"| River softmax, an image at a time | {split_accuracy(River(), dataset, 0):.1%} |", flush=True)
    except ImportError as error:
        print(f"{error.name} is not installed", file=sys.stderr)


def without(split: Split, label: int) -> Split:
    """The other classes, numbered anew."""
    kept = split.labels != label
    labels = split.labels[kept]
    return Split(split.images[kept], np.where(labels > label, labels - 1, labels).astype(labels.dtype))


def print_new_class(dataset: Dataset) -> None:
    heads = [f"{kind} after {count}" for count in ASKED_AFTER for kind in ("new", "old")]
    print(f"\na class more, an image at a time\n\n| the new class | {' | '.join(heads)} |")
    print("| --- |" + " ---: |" * len(heads))
    rows = []
    for label in range(dataset.classes):
        others = replace(dataset, train=without(dataset.train, label), test=without(dataset.test, label))
        trainer = Trainer(others, TrainingOptions(drawn=0))
        for _ in trainer.epochs():
            pass
        rows.append(taught_one_more(trainer.weights(), dataset, label))
        print(f"| {label} | {' | '.join(f'{share:.1%}' for share in rows[-1])} |", flush=True)
    for title, of in (("the lowest", np.min), ("the mean", np.mean)):
        print(f"| {title} | {' | '.join(f'{share:.1%}' for share in of(rows, axis=0))} |", flush=True)


def taught_one_more(weights: Weights, dataset: Dataset, label: int) -> list[float]:
    """Accuracies on the new class and on the old ones, after each of ASKED_AFTER."""
    new = weights.output_size
    learner, random = Live(grown(weights)), np.random.default_rng(0)
    images = random.permutation(np.flatnonzero(dataset.train.labels == label))[: ASKED_AFTER[-1]]
    x, _ = as_stream(dataset.train.images[images], dataset.train.labels[images])
    of_class = dataset.test.labels == label
    old = without(dataset.test, label)
    asked: list[Stream] = [
        as_stream(dataset.test.images[of_class], np.full(int(of_class.sum()), new)),
        as_stream(old.images, old.labels),
    ]
    found: list[float] = []
    for count, image in enumerate(x, 1):
        learner.learn(image, new)
        if count in ASKED_AFTER:
            found += [learner.accuracy(stream) for stream in asked]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    dataset = load_dataset(options.data)
    print_split(dataset, options.runs)
    print_new_class(dataset)


if __name__ == "__main__":
    main()
