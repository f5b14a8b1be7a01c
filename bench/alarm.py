"""What raises the drift alarm, what it does then, and how soon.

`python -m bench.alarm [--data DIR]` prints three tables:

- what must not be taken for a fall, and what must: a service in this process with TWOLAYERNET_ALARM=rollback, begun
  with the network that `twolayernet train` makes of the packaged digits, is given labels for test images of the data;
- how often the test reports a change where there is none, and how soon where 30 % of the labels are wrong from some
  moment on: outcomes that are drawn, and those of networks that learn online with the default settings;
- what those wrong labels do to the network that `twolayernet train` makes of the data, with and without an alarm.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.labels import Service
from bench.online import Live, Stream, as_stream, mislabelled, pairs, plainly_trained, trained
from model import weights_file
from model.datasets import Dataset, load_dataset
from model.untrained import untrained
from model.weights_file import Weights
from service.app import EXTENSION
from service.live.drift_alarm import Alarm, Watch

AT_ONCE = 20
WRONG = 0.3
RUNS, BEFORE = 100, 1000
"""Runs with wrong labels, and the right ones before."""

STEADY, IMPROVING = 100_000, 10_000
THRESHOLD = Alarm().threshold


def learn(service: Service, ids: list[str], label_of: dict[str, int], **more: Any) -> None:
    for at in range(0, len(ids), AT_ONCE):
        some = ids[at : at + AT_ONCE]
        body = {"prediction_ids": some, "labels": [label_of[one] for one in some], **more}
        assert service.client.post("/train-step", json=body).status_code == 200


def remembered(service: Service, stream: Stream, query: str = "") -> dict[str, int]:
    """The label of each id."""
    label_of: dict[str, int] = {}
    for at in range(0, len(stream[1]), 1000):
        answer = service.post(f"/predict?remember=true{query}", x=stream[0][at : at + 1000])
        label_of |= dict(zip(answer.json["prediction_ids"], stream[1][at : at + 1000].tolist(), strict=True))
    return label_of


def part(stream: Stream, begin: int, end: int) -> Stream:
    return stream[0][begin:end], stream[1][begin:end]


def in_order(service: Service, stream: Stream, count: int) -> None:
    label_of = remembered(service, part(stream, 0, count))
    learn(service, list(label_of), label_of)


def the_uncertain_first(service: Service, stream: Stream) -> None:
    half = len(stream[1]) // 2
    in_order(service, stream, half)
    label_of = remembered(service, part(stream, half, 2 * half))
    for _ in range(min(1000, half) // AT_ONCE):
        page = service.client.get(f"/predictions?order=uncertain&limit={AT_ONCE}").json
        assert page is not None
        learn(service, [one["prediction_id"] for one in page["predictions"]], label_of)


def answers_of_a_bad_version(service: Service, stream: Stream) -> None:
    good = service.client.get("/weights").data
    bad = weights_file.to_bytes(Weights(plainly_trained(None, 10)))
    for data in (bad, good):
        assert service.client.put("/weights", data=data).status_code == 200
    in_order(service, stream, len(stream[1]) // 2)
    label_of = remembered(service, part(stream, len(stream[1]) // 2, len(stream[1]) // 2 + 400), "&model_version=2")
    learn(service, list(label_of), label_of)


def ruined_with_labels_of_before(service: Service, stream: Stream) -> None:
    count = min(1500, len(stream[1]))
    label_of = remembered(service, part(stream, 0, count))
    for at in range(0, 50, 10):
        x, t = part(stream, at, at + 10)
        service.post("/train-step?learning_rate=10&rehearse=0", x=x, t=(t + 1) % 10)
    learn(service, list(label_of), label_of)


CASES: dict[str, Callable[[Service, Stream], None]] = {
    "labels in order, then the most uncertain first": the_uncertain_first,
    "labels for answers of a bad version that was named": answers_of_a_bad_version,
    "five steps ruin the network, then labels for version 1's answers": ruined_with_labels_of_before,
}


def acts_of(service: Service) -> list[dict[str, Any]]:
    acts: list[dict[str, Any]] = []
    before = ""
    while True:
        page = service.client.get(f"/versions?limit=1000{before}").json
        assert page is not None
        acts = [version for version in page["versions"] if version.get("event") == "alarm"][::-1] + acts
        if page["next_before"] is None:
            return acts
        before = f"&before={page['next_before']}"


def print_cases(dataset: Dataset) -> None:
    weights = trained(load_dataset("digits"))
    x, t = as_stream(dataset.test.images, dataset.test.labels)
    half = len(t) // 2
    stream, asked = (x[:half], t[:half]), (x[half:], t[half:])
    print("| labels | other test images, before | last 1,000 | chosen | pinned | acts | back to | after |")
    print("| --- |" + " ---: |" * 7)
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            service = Service(Path(folder), weights, alarm="rollback", max_learning_rate=10)
            before = service.accuracy(asked)
            case(service, stream)
            learning, acts = service.client.get("/learning").json, acts_of(service)
            assert learning is not None
            shown = [learning["windows"][1], learning["chosen"], learning["chosen"]["pinned"]]
            figures = ["–" if one["accuracy"] is None else f"{one['accuracy']:.1%}" for one in shown]
            back = ", ".join(str(act["source_version"]) for act in acts) or "–"
            cells = [f"{before:.1%}", *figures, str(len(acts)), back, f"{service.accuracy(asked):.1%}"]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def reports(hits: Iterator[bool]) -> Iterator[int]:
    """After how many examples a change is reported; then the test begins anew."""
    watch = Watch()
    for n, hit in enumerate(hits, 1):
        watch, changed, _ = watch.after(np.array([hit]), n, THRESHOLD)
        if changed:
            yield n
            watch = Watch()


def test_then_train(learner: Live, stream: Stream) -> Iterator[bool]:
    for x, t in pairs(stream):
        yield bool(learner.predict(x[np.newaxis])[0] == t)
        learner.learn(x, t)


def delay(learner: Live, watch: Watch, stream: Stream) -> int:
    """Examples until a change is reported; as many as there are, where none is."""
    copy = Live(learner.weights)
    copy.version = learner.version
    for n, hit in enumerate(test_then_train(copy, stream), 1):
        watch, changed, _ = watch.after(np.array([hit]), BEFORE + n, THRESHOLD)
        if changed:
            return n
    return len(stream[1])


def drawn(stream: Stream, count: int, seed: int) -> Stream:
    chosen = np.random.default_rng(seed).integers(0, len(stream[1]), count)
    return stream[0][chosen], stream[1][chosen]


def print_reports(dataset: Dataset, weights: Weights) -> None:
    print("\n| stream | a change is reported |\n| --- | ---: |")
    for rate in (0.02, 0.05, 0.15, 0.4):
        hits = np.random.default_rng(0).random(STEADY) >= rate
        found = len(list(reports(iter(hits.tolist()))))
        print(f"| {STEADY:,} outcomes, {rate:.0%} errors throughout | {found} times |", flush=True)
    train = as_stream(dataset.train.images, dataset.train.labels)
    times = 0
    for seed in range(10):
        learner = Live(untrained(dataset.image_shape, 50, dataset.classes))
        times += any(True for _ in reports(test_then_train(learner, drawn(train, IMPROVING, seed))))
    print(f"| an untrained network learns {IMPROVING:,} images | in {times} of 10 runs |", flush=True)
    test = as_stream(dataset.test.images, dataset.test.labels)
    learner, watch = Live(weights), Watch()
    for n, hit in enumerate(test_then_train(learner, drawn(test, BEFORE, 0)), 1):
        watch, _, _ = watch.after(np.array([hit]), n, THRESHOLD)
    watch = replace(watch, evidence=0.0)
    delays = []
    for seed in range(RUNS):
        x, t = drawn(test, 500, seed + 1)
        random = np.random.default_rng(seed)
        t = np.where(random.random(len(t)) < WRONG, (t + random.integers(1, dataset.classes, len(t))) % 10, t)
        delays.append(delay(learner, watch, (x, t)))
    print(
        f"| {BEFORE:,} right labels, then {WRONG:.0%} wrong ones, {RUNS} runs | after {np.median(delays):.0f} examples "
        f"(median), {np.quantile(delays, 0.9):.0f} (nine of ten), {max(delays)} (longest) |"
    )


def print_wrong_labels(dataset: Dataset, weights: Weights, runs: int) -> None:
    x, t = as_stream(dataset.test.images, dataset.test.labels)
    half = len(t) // 2
    asked = x[half:], t[half:]
    print(f"\n{BEFORE:,} right labels, then up to 1,000 of which {WRONG:.0%} are wrong; other test images\n")
    print(
        "| alarm | run | before | lowest | at the end | acts, and after how many of these | CPU of the longest step |"
    )
    print("| --- | ---: | ---: | ---: | ---: | --- | ---: |")
    for run in range(runs):
        chosen = np.resize(np.random.default_rng(run).permutation(half), 2 * BEFORE)
        stream = mislabelled((x[chosen], t[chosen]), WRONG, dataset.classes, first=BEFORE)
        with tempfile.TemporaryDirectory() as name:
            right = Path(name) / "right"
            right.mkdir()
            begun = Service(right, weights)
            taught(begun, part(stream, 0, BEFORE), asked)
            begun.app.extensions[EXTENSION].close()
            for act in ("off", "pause", "rollback"):
                folder = Path(shutil.copytree(right, Path(name) / act))
                service = Service(folder, weights, alarm=act)
                before = accuracy(service, asked)
                lowest, longest = taught(service, part(stream, BEFORE, 2 * BEFORE), asked)
                after = [one["model_version"] - 2 - BEFORE - at for at, one in enumerate(acts_of(service))]
                cells = [f"{before:.1%}", f"{lowest:.1%}", f"{accuracy(service, asked):.1%}"]
                shown = ", ".join(map(str, after)) or "–"
                print(f"| {act} | {run + 1} | {' | '.join(cells)} | {shown} | {1000 * longest:.0f} ms |", flush=True)


def accuracy(service: Service, asked: Stream) -> float:
    """Of the newest version."""
    return Live(service.app.extensions[EXTENSION].replica.newest().weights).accuracy(asked)


def taught(service: Service, stream: Stream, asked: Stream) -> tuple[float, float]:
    """Until learning is paused: the lowest accuracy, at every fifth step, and the CPU seconds of the longest step."""
    lowest, longest = 1.0, 0.0
    for n, (image, label) in enumerate(pairs(stream)):
        began = time.process_time()
        answer = service.post("/train-step", x=image[np.newaxis], t=[label])
        longest = max(longest, time.process_time() - began)
        if n % 5 == 0:
            lowest = min(lowest, accuracy(service, asked))
        if answer.status_code == 409:
            break
    return lowest, longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    dataset = load_dataset(options.data)
    print_cases(dataset)
    weights = trained(dataset)
    print_reports(dataset, weights)
    print_wrong_labels(dataset, weights, options.runs)


if __name__ == "__main__":
    main()
