"""What is read of pictures as people take them: accuracy, refusals, confident mistakes and CPU, for each kind.

`python -m bench.pictures [--data DIR] [--weights FILE] [--digits N]`: the kinds are those of `tests.service.papers`,
rendered from MNIST's test digits in DIR, or from the packaged ones; the weights are trained on these unless given.
"""

import argparse
import gzip
import time
from pathlib import Path

import numpy as np

from model import weights as weights_file
from model.datasets import Split, packaged_digits, pixels_to_input
from model.functions import softmax
from model.training import Trainer, TrainingOptions
from model.weights import Weights
from service.images.finding import NoDigitError, find
from service.images.picture import decoded
from tests.service.papers import TO_BE_READ, TO_BE_REFUSED, Kind, encoded

SHAPE = (28, 28)
CONFIDENT = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--digits", type=int, default=100)
    options = parser.parse_args()
    test = mnist_test(options.data) if options.data else packaged_digits().test
    weights = weights_file.load(options.weights) if options.weights else trained()
    print("| picture | right | refused | wrong at p > 0.9 | CPU ms |")
    print("| --- | ---: | ---: | ---: | ---: |")
    some = test.take(np.linspace(0, len(test.labels) - 1, options.digits).astype(np.int64))
    for name, render in {**TO_BE_READ, **TO_BE_REFUSED}.items():
        right, refused, confident, milliseconds = measured(render, some, weights)
        shown = f"{right:.1%}" if name in TO_BE_READ else "–"
        print(f"| {name} | {shown} | {refused:.1%} | {confident:.1%} | {milliseconds:.1f} |", flush=True)


def mnist_test(folder: Path) -> Split:
    """From the files as their authors publish them."""
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return Split(
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, SHAPE[0] * SHAPE[1]),
        np.frombuffer(labels, np.uint8, offset=8).astype(np.int64),
    )


def trained() -> Weights:
    trainer = Trainer(packaged_digits(), TrainingOptions())
    for _ in trainer.epochs():
        pass
    return trainer.weights()


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
