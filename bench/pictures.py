"""What is read of pictures as people take them: accuracy, refusals, confident mistakes and CPU, for each kind.

`python -m bench.pictures [--data DIR] [--weights FILE] [--digits N]`: the kinds are those of `tests.service.papers`,
rendered from MNIST's test digits in DIR, or from the packaged ones; the weights are trained on these unless given.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.online import trained
from model import weights_file
from model.datasets import Split, load_dataset, packaged_digits, pixels_to_input
from model.functions import softmax
from model.weights_file import Weights
from service.decoders.digit_finder import NoDigitError, find, find_row
from service.decoders.picture import decoded
from tests.service.papers import (
    GAPS,
    ROWS_TO_BE_READ,
    TO_BE_READ,
    TO_BE_REFUSED,
    Field,
    Kind,
    encoded,
    written_row,
)

SHAPE = (28, 28)
CONFIDENT = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--digits", type=int, default=100)
    options = parser.parse_args()
    test = load_dataset(options.data).test
    weights = weights_file.load(options.weights) if options.weights else trained(packaged_digits())
    print("| picture | right | refused | wrong at p > 0.9 | CPU ms |")
    print("| --- | ---: | ---: | ---: | ---: |")
    some = test.take(np.linspace(0, len(test.labels) - 1, options.digits).astype(np.int64))
    for name, render in {**TO_BE_READ, **TO_BE_REFUSED}.items():
        right, refused, confident, milliseconds = measured(render, some, weights)
        shown = f"{right:.1%}" if name in TO_BE_READ else "–"
        print(f"| {name} | {shown} | {refused:.1%} | {confident:.1%} | {milliseconds:.1f} |", flush=True)
    print("\n| row of 2 to 8 digits | right number | right digits | CPU ms |")
    print("| --- | ---: | ---: | ---: |")
    for name, render_row in ROWS_TO_BE_READ.items():
        numbers, right, milliseconds = measured_row(render_row, test, options.digits, weights)
        print(f"| {name} | {numbers:.1%} | {right:.1%} | {milliseconds:.1f} |", flush=True)


def measured_row(
    render: Callable[[Field, np.random.Generator], Field], test: Split, count: int, weights: Weights
) -> tuple[float, float, float]:
    """The shares of rows whose number of digits was right, and of right digits among all, and the CPU, in ms a row."""
    network = weights.network()
    numbers = right = digits = 0
    seconds = 0.0
    for i in range(count):
        random = np.random.default_rng(i)
        some = test.take(random.integers(0, len(test.labels), random.integers(2, 9)))
        row = written_row([image.reshape(SHAPE) for image in some.images], int(random.choice(GAPS)))
        grey = decoded(encoded(render(row, random)), ()).brightness
        digits += len(some.labels)
        started = time.process_time()
        try:
            found = find_row(grey, SHAPE)
        except NoDigitError:
            continue
        finally:
            seconds += time.process_time() - started
        if len(found) == len(some.labels):
            numbers += 1
            pixels = np.stack([digit.pixels.ravel() for digit in found])
            right += int((network.predict(pixels_to_input(pixels)).argmax(axis=1) == some.labels).sum())
    return numbers / count, right / digits, 1000 * seconds / count


def measured(render: Kind, some: Split, weights: Weights) -> tuple[float, float, float, float]:
    """The shares of right, refused and confidently wrong answers, and the CPU beside the decoding, in ms a picture."""
    network, count = weights.network(), len(some.labels)
    right = refused = confident = 0
    seconds = 0.0
    for i, (image, label) in enumerate(zip(some.images, some.labels, strict=True)):
        grey = decoded(encoded(render(image.reshape(SHAPE), np.random.default_rng(i))), ()).brightness
        started = time.process_time()
        try:
            pixels = find(grey, SHAPE).pixels.ravel()
        except NoDigitError:
            refused += 1
            continue
        finally:
            seconds += time.process_time() - started
        probabilities = softmax(network.predict(pixels_to_input(pixels[np.newaxis])))[0]
        answer = int(probabilities.argmax())
        right += int(answer == label)
        confident += int(answer != label and probabilities[answer] > CONFIDENT)
    return right / count, refused / count, confident / count, 1000 * seconds / count


if __name__ == "__main__":
    main()
