"""What is read of pictures as people take them: accuracy, refusals, confident mistakes and CPU, for each kind.

`python -m bench.pictures [--data DIR] [--weights FILE] [--digits N]`: the kinds are those of `tests.service.papers`,
rendered from MNIST's test digits in DIR, or from the packaged ones; the weights are trained on these unless given.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from bench.online import trained
from model import weights as weights_file
from model.datasets import Split, load_dataset, packaged_digits, pixels_to_input
from model.functions import softmax
from model.weights import Weights
from service.images.finding import NoDigitError, find
from service.images.picture import decoded
from tests.service.papers import TO_BE_READ, TO_BE_REFUSED, Kind, encoded

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
