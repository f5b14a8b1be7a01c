"""The digit is found in pictures as people take them, or there is said what was seen; at a bounded cost."""

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from model.datasets import Split, load_dataset, pixels_to_input
from model.weights_file import Weights
from service.decoders.digit_finder import NoDigitError, find
from service.decoders.picture import read_digits, read_picture
from service.http.problems import BadInput
from tests.service.papers import GAPS, ROWS_TO_BE_READ, TO_BE_READ, TO_BE_REFUSED, encoded, written_row

MNIST = Path(__file__).parents[3] / "shared" / "mnist"
SHAPE = (28, 28)
DIGITS, FEWER_DIGITS = 40, 20
BELOW_PLAIN = {
    "cropped tightly": 0.1,
    "cropped tightly, white on black": 0.15,
    "faint pencil": 0.1,
    "28 × 28, small": 0.1,
}
MOST_BELOW_PLAIN = 0.08
"""How much accuracy a kind may cost; where it is more, the above. Of forty digits, that is one more than of a thousand:
each network has a few that it reads now so, now so."""

READ_FIRST = ("plain", "white on black", "a shadow", "a frame", "28 × 28, grain")
REFUSED_FIRST = ("blank", "noise, 28 × 28", "two digits")
"""Of each sort one, tried by `make test` with fewer digits; all of them with the long tests."""


def kinds(all_of_them: Iterable[str], first: tuple[str, ...]) -> list[Any]:
    """Each with a count of digits."""
    at_length = [pytest.param(kind, DIGITS, marks=pytest.mark.long) for kind in all_of_them]
    return [(kind, FEWER_DIGITS) for kind in first] + at_length


def some_of(held_out: Split, count: int) -> Split:
    return held_out.take(np.arange(0, 1000, 1000 // count))


def labels_of(weights: Weights, pixels: np.ndarray) -> np.ndarray:
    labels: np.ndarray = weights.network().predict(pixels_to_input(pixels)).argmax(axis=1)
    return labels


@pytest.mark.parametrize(("kind", "count"), kinds(TO_BE_READ, READ_FIRST))
def test_the_digit_is_found(kind: str, count: int, trained: Weights, held_out: Split) -> None:
    some, right = some_of(held_out, count), 0
    for i, (image, label) in enumerate(zip(some.images, some.labels, strict=True)):
        picture = TO_BE_READ[kind](image.reshape(SHAPE), np.random.default_rng(i))
        try:
            right += int(
                labels_of(trained, read_picture(encoded(picture), SHAPE, ()).pixels.ravel()[np.newaxis])[0] == label
            )
        except BadInput:
            continue
    as_pixels = int((labels_of(trained, some.images) == some.labels).sum())
    assert right >= as_pixels - round(BELOW_PLAIN.get(kind, MOST_BELOW_PLAIN) * count)


@pytest.mark.parametrize(("kind", "count"), kinds(TO_BE_REFUSED, REFUSED_FIRST))
def test_what_is_no_digit_or_more_than_one_is_refused(kind: str, count: int, held_out: Split) -> None:
    message = "2 digits: crop the picture to one, or" if kind == "two digits" else "nothing stands out"
    refused = 0
    for i, image in enumerate(some_of(held_out, count).images):
        try:
            read_picture(encoded(TO_BE_REFUSED[kind](image.reshape(SHAPE), np.random.default_rng(i))), SHAPE, ())
        except BadInput as problem:
            refused += message in str(problem.detail)
    assert refused >= 0.95 * count


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("plain", 20),
        ("the box of a form", 20),
        *(pytest.param(kind, 100, marks=pytest.mark.long) for kind in ROWS_TO_BE_READ),
    ],
)
def test_rows_of_two_to_eight_digits_are_read(kind: str, count: int, trained: Weights, held_out: Split) -> None:
    rows, numbers, right, digits, as_pixels = count, 0, 0, 0, 0
    for i in range(rows):
        random = np.random.default_rng(i)
        some = held_out.take(random.integers(0, len(held_out.labels), random.integers(2, 9)))
        row = written_row([image.reshape(SHAPE) for image in some.images], int(random.choice(GAPS)))
        digits += len(some.labels)
        as_pixels += int((labels_of(trained, some.images) == some.labels).sum())
        try:
            found = read_digits(encoded(ROWS_TO_BE_READ[kind](row, random)), SHAPE, (), several=True)
        except BadInput:
            continue
        if len(found) == len(some.labels):
            numbers += 1
            pixels = np.stack([digit.pixels.ravel() for digit in found])
            right += int((labels_of(trained, pixels) == some.labels).sum())
    missed = 0.12 if kind == "the box of a form" else 0.05  # a box takes a digit that touches it for a part of itself
    assert numbers >= (1 - missed) * rows
    assert right >= as_pixels - (missed + 0.03) * digits


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.long)])
def test_a_picture_in_mnist_s_form_is_taken_as_it_is(held_out: Split, every: int) -> None:
    assert all(is_taken_as_it_is(image.reshape(SHAPE)) for image in held_out.images[::every])


@pytest.mark.long
@pytest.mark.skipif(not MNIST.exists(), reason="needs the MNIST files beside the repository")
def test_all_of_mnist_s_test_images_are_taken_as_they_are() -> None:
    images = load_dataset(str(MNIST)).test.images
    assert all(is_taken_as_it_is(image.reshape(SHAPE)) for image in images)


def is_taken_as_it_is(image: np.ndarray) -> bool:
    pictures = (image, 255 - image)
    return all(np.array_equal(find(picture, SHAPE).pixels, image) for picture in pictures)


def cost(work: Callable[[], object]) -> float:
    """The least of three, in seconds of CPU."""
    times = []
    for _ in range(3):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def tried(picture: np.ndarray) -> None:
    with contextlib.suppress(NoDigitError):
        find(picture, SHAPE)


ODD = np.random.default_rng(0)
DOWN, ACROSS = np.indices((800, 800))
WORST = {
    "noise": ODD.integers(0, 256, (800, 800)),
    "noise, long and thin": ODD.integers(0, 256, (400, 3200)),
    "noise, three pixels high": ODD.integers(0, 256, (3, 30_000)),
    "a thin line": np.where(np.indices((1600, 400))[1] == 200, 0, 255),
    "checkerboard of pixels": (DOWN + ACROSS) % 2 * 255,
    "checkerboard": (DOWN // 8 + ACROSS // 8) % 2 * 255,
    "stripes": DOWN // 7 % 2 * 255,
    "blocks": np.kron(ODD.integers(0, 256, (20, 20)), np.ones((40, 40))),
    "black and white blocks": np.kron(ODD.integers(0, 2, (100, 100)) * 255, np.ones((8, 8))),
    "dots": np.where((DOWN % 24 < 9) & (ACROSS % 24 < 9), 0, 255),
}
MOST_PLAIN_ONES = 3
"""Of a plain picture's cost; the worst that is known takes 2."""


@pytest.mark.long
@pytest.mark.parametrize("kind", WORST)
def test_whatever_is_in_a_picture_its_cost_is_bounded(kind: str, held_out: Split) -> None:
    digit = held_out.images[0].reshape(SHAPE)
    plain = np.round(TO_BE_READ["plain"](digit, ODD) * 255).astype(np.uint8)
    picture = WORST[kind].astype(np.uint8)
    tried(picture)
    assert cost(lambda: tried(picture)) < MOST_PLAIN_ONES * cost(lambda: tried(plain))


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    seed=st.integers(0, 2**32 - 1),
    levels=st.integers(1, 255),
    grain=st.integers(1, 40),
    shape=st.sampled_from([(28, 28), (8, 8), (20, 14), (1, 1)]),
)
@hypothesis_settings(deadline=None, max_examples=60)
def test_whatever_is_in_a_picture_it_is_pixels_or_a_refusal(
    size: tuple[int, int], seed: int, levels: int, grain: int, shape: tuple[int, int]
) -> None:
    (rows, columns), random = size, np.random.default_rng(seed)
    blocks = random.integers(0, levels + 1, (rows // grain + 1, columns // grain + 1), np.uint8)
    picture = np.kron(blocks, np.ones((grain, grain), np.uint8))[:rows, :columns]
    try:
        pixels = find(picture, shape).pixels
    except NoDigitError:
        return
    assert pixels.shape == shape
    assert pixels.dtype == np.uint8
