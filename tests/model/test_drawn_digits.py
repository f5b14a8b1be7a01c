import numpy as np

from model.datasets import packaged_digits
from model.drawn_digits import FORMS, compiled_forms, drawn_digits, handwritten, rendered


def test_drawn_digits_are_in_mnists_form() -> None:
    digits = drawn_digits(1000, np.random.default_rng(0))
    assert digits.images.shape == (1000, 784)
    assert digits.images.dtype == digits.labels.dtype == np.uint8
    assert np.bincount(digits.labels).min() > 60
    for image in digits.images.reshape(-1, 28, 28).astype(float):
        rows, columns = np.flatnonzero(image.max(axis=1) > 25), np.flatnonzero(image.max(axis=0) > 25)
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert 18 <= max(height, width) <= 20
        assert image.max() == 255
        for axis, size in ((1, height), (0, width)):
            mass = image.sum(axis=axis)
            if size < 20:  # the middle may be further away where the drawing would leave the image
                assert abs(float(mass @ np.arange(28) / mass.sum()) - 13.5) < 1


def test_the_same_seed_draws_the_same_digits() -> None:
    first, again, other = (drawn_digits(50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first.images == again.images).all()
    assert (first.labels == again.labels).all()
    assert (first.images != other.images).any()


def test_every_form_is_drawn_as_a_digit_that_no_other_drawing_equals() -> None:
    random = np.random.default_rng(0)
    assert len(compiled_forms()) == sum(map(len, FORMS.values()))
    for form in compiled_forms():
        images = rendered(*handwritten(form, 5, random))
        assert len(np.unique(images, axis=0)) == 5
        assert (images > 128).sum(axis=1).min() > 15


def test_drawn_digits_look_like_the_real_ones() -> None:
    """Most of them are nearest to a real image of their class."""
    real = packaged_digits().train
    drawn = drawn_digits(200, np.random.default_rng(0))
    x, y = (split.images.astype(np.float32) / 255 for split in (drawn, real))
    squares = (y * y).sum(axis=1) - 2 * x @ y.T
    assert (real.labels[squares.argmin(axis=1)] == drawn.labels).mean() > 0.65
