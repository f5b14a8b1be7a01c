from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import TwoLayerNet, checkpoint
from model.augmentation import Distortions, shifted, turned, with_strokes
from model.datasets import Dataset, Split, input_to_pixels, packaged_digits
from model.optimizer import OPTIMIZERS
from model.training import Trainer, TrainingError, TrainingOptions
from model.weights_file import Weights

OPTIONS = TrainingOptions(hidden=8, epochs=6, batch_size=10)


def stripes(count: int, seed: int = 0) -> Split:
    """Images of 6 × 6 with one bright row or column, in noise: 12 classes."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 60, (count, 6, 6), dtype=np.uint8)
    labels = random.integers(0, 12, count).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        line = image[label] if label < 6 else image[:, label - 6]
        line[:] = 255
    return Split(images.reshape(count, 36), labels)


DATA = Dataset("stripes", stripes(300), stripes(100, 1), (6, 6))


def trained(options: TrainingOptions, **more: Any) -> Trainer:
    trainer = Trainer(DATA, options, **more)
    for _ in trainer.epochs():
        pass
    return trainer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_learns(optimizer: Any) -> None:
    trainer = trained(TrainingOptions(hidden=30, epochs=40, batch_size=10, optimizer=optimizer, shift=0))
    assert trainer.history[-1].loss < trainer.history[0].loss / 2
    assert trainer.history[-1].validation_accuracy > 0.8


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("patience", [None, 3])
def test_a_resumed_job_ends_as_one_that_was_never_interrupted(
    tmp_path: Path, optimizer: Any, patience: int | None
) -> None:
    options = replace(OPTIONS, optimizer=optimizer, patience=patience, rotate=5, distort=0.5)
    whole = trained(options)
    first = Trainer(DATA, options)
    for epoch in first.epochs():
        if epoch.number == 2:
            checkpoint.save(tmp_path / "job", first)
            break
    second = Trainer(DATA, options)
    checkpoint.restore(tmp_path / "job", second)
    for _ in second.epochs():
        pass
    assert second.history == whole.history
    for name, array in whole.weights().params.items():
        assert (second.weights().params[name] == array).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(OPTIONS, seed=1), "seed 0: this one has 1"),
        (replace(OPTIONS, hidden=9), "hidden 8: this one has 9"),
    ],
)
def test_a_job_with_other_options_is_not_resumed(tmp_path: Path, options: TrainingOptions, message: str) -> None:
    checkpoint.save(tmp_path / "job", trained(OPTIONS))
    with pytest.raises(TrainingError, match=message):
        checkpoint.restore(tmp_path / "job", Trainer(DATA, options))
    (tmp_path / "job").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        checkpoint.restore(tmp_path / "job", Trainer(DATA, OPTIONS))


def test_a_job_with_other_data_of_the_same_name_and_size_is_not_resumed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "job", trained(OPTIONS))
    for train in (
        Split(DATA.train.images[::-1].copy(), DATA.train.labels),
        Split(DATA.train.images, DATA.train.labels[::-1].copy()),
    ):
        with pytest.raises(TrainingError, match=r"belongs to a job with data [0-9a-f]{16}: this one has [0-9a-f]{16}"):
            checkpoint.restore(tmp_path / "job", Trainer(replace(DATA, train=train), OPTIONS))


def test_a_finished_job_may_go_on_for_more_epochs(tmp_path: Path) -> None:
    options = replace(OPTIONS, schedule="constant")
    checkpoint.save(tmp_path / "job", trained(options))
    longer = Trainer(DATA, replace(options, epochs=8))
    checkpoint.restore(tmp_path / "job", longer)
    for _ in longer.epochs():
        pass
    assert [epoch.number for epoch in longer.history] == list(range(1, 9))


def test_patience_stops_and_keeps_the_best_epoch() -> None:
    trainer = trained(replace(OPTIONS, epochs=200, patience=4, learning_rate=0.3))
    assert len(trainer.history) < 200
    accuracies = [epoch.validation_accuracy for epoch in trainer.history]
    best = int(np.argmax(accuracies)) + 1
    assert len(accuracies) == best + 4
    weights = trainer.weights()
    assert weights.training["best_epoch"] == best
    assert weights.network().accuracy(trainer.validation_x, trainer.validation_t) == max(accuracies)


def test_training_goes_on_from_weights_and_leaves_them_as_they_are() -> None:
    start = trained(OPTIONS).weights()
    before = {name: array.copy() for name, array in start.params.items()}
    trainer = trained(replace(OPTIONS, epochs=1, learning_rate=1e-6, weight_decay=0), start=start)
    after = trainer.weights()
    assert after.hidden_size == 8
    for name, array in before.items():
        assert (start.params[name] == array).all()
        assert after.params[name] == pytest.approx(array, abs=1e-4)


@pytest.mark.parametrize(
    ("other", "message"), [({"hidden": 9}, "hidden 8: it can't be 9"), ({"activation": "sigmoid"}, "activation relu")]
)
def test_weights_of_another_kind_are_not_gone_on_from(other: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Trainer(DATA, replace(OPTIONS, **other), Trainer(DATA, OPTIONS).weights())


def test_what_was_trained_on_is_never_kept_out_later_whatever_the_seed_and_whatever_is_added() -> None:
    first = Trainer(DATA, OPTIONS)
    more = replace(DATA, train=stripes(200, 7) + DATA.train)
    second = Trainer(more, replace(OPTIONS, seed=5), first.weights())
    trained_on = {image.tobytes() for image in first.images}
    kept_out = {image.tobytes() for image in input_to_pixels(second.validation_x)}
    assert len(kept_out) > 20
    assert not trained_on & kept_out


@pytest.mark.parametrize("learning_rate", [3.0, 1e30])
def test_a_training_that_diverges_says_so(learning_rate: float) -> None:
    diverged = trained(replace(OPTIONS, epochs=10, learning_rate=learning_rate))
    assert diverged.divergence() is not None
    assert trained(replace(OPTIONS, epochs=10)).divergence() is None


def test_patience_keeps_what_was_good_before_the_training_diverged() -> None:
    trainer = Trainer(DATA, replace(OPTIONS, epochs=30, schedule="constant", patience=20, hidden=30))
    for epoch in trainer.epochs():
        if epoch.number == 12:
            trainer.network.params["W1"][:] = np.nan
    assert len(trainer.history) == 13
    assert trainer.divergence() is None
    assert np.isfinite(trainer.weights().params["W1"]).all()


def test_classes_of_other_names_are_refused() -> None:
    named = replace(DATA, label_names=tuple("abcdefghijkl"))
    weights = Trainer(named, OPTIONS).weights()
    assert weights.label_names == named.label_names
    assert Trainer(DATA, OPTIONS, weights).weights().label_names == named.label_names
    with pytest.raises(TrainingError, match=r"the classes of the weights are 'a', 'b'.*, those of stripes 'A', 'b'"):
        Trainer(replace(DATA, label_names=tuple("Abcdefghijkl")), OPTIONS, weights)


@pytest.mark.parametrize(("inputs", "classes", "message"), [(35, 12, "35 pixels"), (36, 11, "11 classes")])
def test_weights_for_other_data_are_refused(inputs: int, classes: int, message: str) -> None:
    weights = Weights(TwoLayerNet(inputs, 4, classes, dtype=np.float32).params)
    with pytest.raises(TrainingError, match=message):
        Trainer(DATA, OPTIONS, weights)


def test_weight_decay_makes_weights_smaller() -> None:
    plain, decayed = (trained(replace(OPTIONS, weight_decay=decay)).network.params["W1"] for decay in (0, 0.1))
    assert np.abs(decayed).mean() < 0.98 * np.abs(plain).mean()


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    assert len(trained(replace(OPTIONS, batch_size=5000)).history) == 6


def test_shifted_images_are_the_images_moved() -> None:
    images = np.arange(1, 37, dtype=np.uint8).reshape(1, 36)
    seen = {shifted(images, (6, 6), 1, np.random.default_rng(seed)).tobytes() for seed in range(200)}
    padded = np.pad(images.reshape(6, 6), 1)
    assert seen == {padded[r : r + 6, c : c + 6].tobytes() for r in range(3) for c in range(3)}
    assert shifted(images, (6, 6), 0, np.random.default_rng(0)) is images


def test_a_quarter_turn_is_exact_and_a_small_turn_keeps_the_middle() -> None:
    images = np.random.default_rng(0).random((2, 36), dtype=np.float32)
    quarter = turned(images, (6, 6), np.pi / 2).reshape(2, 6, 6)
    expected = np.rot90(images.reshape(2, 6, 6), axes=(1, 2))
    assert quarter == pytest.approx(expected, abs=1e-5) or quarter == pytest.approx(expected[:, ::-1, ::-1], abs=1e-5)
    disc = np.hypot(*np.mgrid[-13.5:14, -13.5:14]) < 9
    x = disc.astype(np.float32).reshape(1, 784)
    assert np.abs(turned(x, (28, 28), 0.3) - x).mean() < 0.02


def test_distortions_are_within_their_limits_and_differ_from_each_other() -> None:
    random = np.random.default_rng(0)
    cross = np.zeros((28, 28), np.uint8)
    cross[13:15, 4:24] = cross[4:24, 13:15] = 255
    images = np.tile(cross.ravel(), (200, 1))
    unchanged = Distortions(4, (28, 28), random, 0)(images, random)
    assert unchanged == pytest.approx(images / 255, abs=1e-6)
    x = Distortions(4, (28, 28), random)(images, random)
    assert x.shape == images.shape
    assert x.dtype == np.float32
    assert 0 <= x.min() <= x.max() <= 1.0001
    assert 2 <= len(np.unique(x, axis=0)) <= 4
    for image in np.unique(x, axis=0).reshape(-1, 28, 28):
        assert np.abs(image - cross / 255).mean() > 0.005
        mass = image.sum(axis=1), image.sum(axis=0)
        assert [float(m @ np.arange(28) / m.sum()) for m in mass] == pytest.approx([13.5, 13.5], abs=2)


def test_images_are_moved_as_far_as_they_may_be() -> None:
    random = np.random.default_rng(0)
    images = np.zeros((1, 28, 28), np.uint8)
    images[0, 14, 14] = 255
    distortions = Distortions(200, (28, 28), random, 0, shift=3)
    places = [distortions(images.reshape(1, 784), random).argmax() for _ in range(300)]
    rows, columns = np.divmod(places, 28)
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (11, 17)


def test_strokes_get_wider_and_narrower() -> None:
    bar = np.zeros((5, 6), np.float32)
    bar[:, 2:4] = 1
    pixels = bar.reshape(30, 1)
    assert with_strokes(pixels, (5, 6), 0.5).reshape(5, 6)[2].tolist() == [0, 0.5, 1, 1, 0.5, 0]
    assert with_strokes(pixels, (5, 6), -0.25).reshape(5, 6)[2].tolist() == [0, 0, 0.75, 0.75, 0, 0]
    assert (with_strokes(pixels, (5, 6), 0) == pixels).all()
    assert pixels.max() == 1


SOME_DIGITS = replace(packaged_digits(), train=packaged_digits().train.take(np.arange(0, 4000, 10)))
DIGITS = TrainingOptions(hidden=8, epochs=3, drawn=700)


class Recorder(Trainer):
    """Keeps which images each epoch had."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.steps: list[Any] = []

    def step(self, batch: Any) -> Any:
        self.steps.append(batch)
        return super().step(batch)


def test_an_epoch_has_every_real_image_and_some_of_the_drawn_ones() -> None:
    trainer = Recorder(SOME_DIGITS, DIGITS)
    drawn: set[int] = set()
    for _ in trainer.epochs():
        seen = np.concatenate(trainer.steps)
        trainer.steps.clear()
        assert sorted(seen[seen < trainer.real]) == list(range(trainer.real))
        assert len(seen) == len(set(seen)) == trainer.real + round(1.2 * trainer.real)
        drawn |= set(seen[seen >= trainer.real])
    assert len(drawn) > 600


def test_the_memory_has_real_images_only() -> None:
    weights = Trainer(SOME_DIGITS, replace(DIGITS, memory=1000)).weights()
    real = {image.tobytes() for image in SOME_DIGITS.train.images}
    kept = [example.pixels for examples in weights.memory.classes for example in examples]
    assert len(kept) > 300
    assert set(kept) <= real


def test_a_job_with_drawn_and_distorted_digits_is_resumed_to_the_bit(tmp_path: Path) -> None:
    whole, first, second = (Trainer(SOME_DIGITS, DIGITS) for _ in range(3))
    for _ in whole.epochs():
        pass
    next(first.epochs())
    checkpoint.save(tmp_path / "job", first)
    checkpoint.restore(tmp_path / "job", second)
    for _ in second.epochs():
        pass
    assert second.history == whole.history
    assert (second.network.params["W1"] == whole.network.params["W1"]).all()
    with pytest.raises(TrainingError, match="drawn 700: this one has 0"):
        checkpoint.restore(tmp_path / "job", Trainer(SOME_DIGITS, replace(DIGITS, drawn=0)))


def test_images_of_digits_get_drawn_ones_and_others_do_not() -> None:
    train = SOME_DIGITS.train
    numbered = tuple("0123456789")
    trainer = Trainer(SOME_DIGITS, TrainingOptions())
    assert (trainer.drawn, trainer.distort, len(trainer.images)) == (10_000, 1, trainer.real + 10_000)
    assert trainer.weights().training["drawn"] == 10_000
    assert Trainer(replace(SOME_DIGITS, label_names=numbered), DIGITS).drawn == 700
    others = {
        "digits in another order": replace(SOME_DIGITS, train=Split(train.images, (train.labels + 1) % 10)),
        "dark digits on light": replace(SOME_DIGITS, train=Split(255 - train.images, train.labels)),
        "letters": replace(SOME_DIGITS, label_names=tuple("abcdefghij")),
        "nine digits": replace(SOME_DIGITS, train=train.take(train.labels != 4)),
        "noise": replace(
            SOME_DIGITS,
            train=Split(np.random.default_rng(0).integers(0, 256, (400, 784), dtype=np.uint8), train.labels),
        ),
    }
    for name, data in others.items():
        trainer = Trainer(data, TrainingOptions())
        assert (trainer.drawn, trainer.distort, len(trainer.images)) == (0, 0, trainer.real), name
    with pytest.raises(TrainingError, match="stripes does not show the ten digits"):
        Trainer(DATA, replace(OPTIONS, drawn=10))
    named = Trainer(replace(SOME_DIGITS, label_names=tuple("abcdefghij")), TrainingOptions()).weights()
    assert Trainer(SOME_DIGITS, TrainingOptions(), named).drawn == 0


def test_bytes_come_back_from_the_pixels_that_they_became() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert (input_to_pixels(every.astype(np.float32) / np.float32(255)) == every).all()
