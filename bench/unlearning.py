"""What it saves to find the labels that are wrong, and to take them back.

A network that `twolayernet train` made is taught 2,000 test images, one at a time, with the default settings of the
service; some of the labels are wrong. It is asked about other test images. `python -m bench.unlearning [--data DIR]`
prints three tables:

- how well a probability of the label finds the wrong ones: that before its step, that of the newest version, and the
  geometric mean of both, which orders GET /labels; also where the network had learnt nothing before;
- the accuracy of the service when the list is taken out from its top, in twenties, until half of twenty are right;
- who taught the labels at the top of the list, where all of one teacher's are wrong, and the accuracy without that
  teacher.

The service runs in this process.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.labels import Service, with_service
from bench.online import DEFAULTS, Live, Stream, as_stream, mislabelled, pairs, trained
from model.datasets import Dataset, load_dataset
from model.functions import softmax
from model.online_step import online_step, planned
from model.types import FloatArray
from model.untrained import untrained
from model.weights_file import Weights

LESSONS, AT_ONCE = 2000, 20
SOURCES, LIAR = ("Ada", "Bob", "Cleo", "Dan", "Eve"), "Cleo"
TOP = 100


@dataclass(frozen=True)
class Lessons:
    """wrong: which of the labels are; sources: who taught each."""

    title: str
    stream: Stream
    wrong: NDArray[np.bool_]
    sources: list[str]


def all_lessons(taught: Stream, classes: int) -> list[Lessons]:
    sources = np.random.default_rng(1).choice(SOURCES, LESSONS).tolist()

    def lessons(title: str, stream: Stream) -> Lessons:
        return Lessons(title, stream, stream[1] != taught[1], sources)

    lies = np.where(np.array(sources) == LIAR, mislabelled(taught, 1, classes)[1], taught[1])
    return [
        lessons("10 % wrong", mislabelled(taught, 0.1, classes)),
        lessons("30 % wrong", mislabelled(taught, 0.3, classes)),
        lessons("all of one of five teachers", (taught[0], lies)),
    ]


def probabilities(weights: Weights, stream: Stream) -> tuple[FloatArray, FloatArray]:
    """Of the labels, before their steps and by the last version, (n,) each."""
    learner, before = Live(weights), np.empty(len(stream[1]))
    for at, (x, t) in enumerate(pairs(stream)):
        learner.version += 1
        rehearsal = planned(learner.weights, learner.version, 1, learner.rehearse, DEFAULTS.memory_size)
        step = online_step(learner.weights, x[np.newaxis], np.array([t]), DEFAULTS.learning_rate, rehearsal=rehearsal)
        learner.weights, before[at] = step.weights, step.probabilities[0, t]
    newest = softmax(learner.weights.network().predict(stream[0]).astype(np.float64))
    return before, newest[np.arange(len(before)), stream[1]]


def print_scores(starts: dict[str, Weights], lessons: list[Lessons]) -> None:
    print("share of wrong labels among the least probable ones, as many as there are wrong ones\n")
    print("| a network | labels | before the step | newest version | geometric mean |")
    print("| --- | --- | ---: | ---: | ---: |")
    for start, weights in starts.items():
        for lesson in lessons:
            before, newest = probabilities(weights, lesson.stream)
            cells = []
            for score in (before, newest, np.sqrt(before * newest)):
                first = np.argsort(score, kind="stable")[: lesson.wrong.sum()]
                cells.append(f"{lesson.wrong[first].mean():.1%}")
            print(f"| {start} | {lesson.title} | {' | '.join(cells)} |", flush=True)


def taught(service: Service, lessons: Lessons) -> dict[int, int]:
    """Each version, and the lesson that it learnt."""
    versions = {}
    for at, ((x, t), source) in enumerate(zip(pairs(lessons.stream), lessons.sources, strict=True)):
        answer = service.post(f"/train-step?source={source}", x=x[np.newaxis], t=[t])
        assert answer.status_code == 200, answer.data
        versions[answer.json["model_version"]] = at
    return versions


def listed(service: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.client.get("/labels?order=suspicious&limit=1000").json["labels"]  # type: ignore[index]
    return found


def change(service: Service, path: str, **body: Any) -> dict[str, Any]:
    answer = service.client.post(path, json=body)
    assert answer.status_code == 200, answer.data
    made: dict[str, Any] = answer.json  # type: ignore[assignment]
    return made


def without_the_suspicious(lessons: Lessons, asked: Stream) -> Callable[[Service], str]:
    def work(service: Service) -> str:
        before, versions = service.accuracy(asked), taught(service, lessons)
        last, after = max(versions), service.accuracy(asked)
        found = [label["model_version"] for label in listed(service)]
        out = 0
        while out < len(found):
            wrong = sum(bool(lessons.wrong[versions[version]]) for version in found[out : out + AT_ONCE])
            if 2 * wrong <= AT_ONCE:
                break
            out += AT_ONCE
        change(service, "/unlearn", model_versions=found[:out])
        cells = [f"{before:.1%}", f"{after:.1%}", str(out), str(sum(lessons.wrong[versions[v]] for v in found[:out]))]
        cells += [str(lessons.wrong.sum()), f"{service.accuracy(asked):.1%}"]
        change(service, "/rollback", model_version=last)
        change(service, "/unlearn", model_versions=[v for v, at in versions.items() if lessons.wrong[at]])
        return " | ".join([*cells, f"{service.accuracy(asked):.1%}"])

    return work


def without_the_liar(lessons: Lessons, asked: Stream) -> Callable[[Service], None]:
    def work(service: Service) -> None:
        taught(service, lessons)
        after, top = service.accuracy(asked), [label["source"] for label in listed(service)[:TOP]]
        shares = {source: top.count(source) / lessons.sources.count(source) for source in SOURCES}
        for source, share in sorted(shares.items(), key=lambda pair: -pair[1]):
            count = lessons.sources.count(source)
            print(f"| {source}{' (wrong)' if source == LIAR else ''} | {count} | {top.count(source)} | {share:.1%} |")
        made = change(service, "/unlearn", source=max(shares, key=lambda source: shares[source]))
        print(f"\n{after:.1%}; without the {made['examples']} of the first of these {service.accuracy(asked):.1%}")

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    dataset: Dataset = load_dataset(parser.parse_args().data)
    weights = trained(dataset)
    x, t = as_stream(dataset.test.images, dataset.test.labels)
    half = len(t) // 2
    chosen, asked = np.resize(np.random.default_rng(0).permutation(half), LESSONS), (x[half:], t[half:])
    lessons = all_lessons((x[chosen], t[chosen]), dataset.classes)
    starts = {"trained": weights, "untrained": untrained(dataset.image_shape, 50, dataset.classes)}
    print_scores(starts, lessons)
    print("\naccuracy before the lessons, after them, and when labels were taken out\n")
    print("| labels | before | after | taken out | of these wrong | of | then | without exactly the wrong ones |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for lesson in lessons:
        print(f"| {lesson.title} | {with_service(weights, without_the_suspicious(lesson, asked))} |", flush=True)
    print(f"\nwho taught the first {TOP} of the list\n\n| teacher | labels | among these | share |")
    print("| --- | ---: | ---: | ---: |")
    with_service(weights, without_the_liar(lessons[-1], asked))


if __name__ == "__main__":
    main()
