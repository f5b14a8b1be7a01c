from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import TwoLayerNet, checkpoint
from model.augmentation import rotated, shifted, turned
from model.datasets import Dataset, Split, input_to_pixels
from model.optimizer import OPTIMIZERS
from model.training import Trainer, TrainingError, TrainingOptions
from model.weights import Weights

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
    options = replace(OPTIONS, optimizer=optimizer, patience=patience, rotate=5)
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
        with pytest.raises(TrainingError, match=r"is of a job with data [0-9a-f]{16}: this one has [0-9a-f]{16}"):
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
    assert np.abs(rotated(x, (28, 28), 20, np.random.default_rng(1)) - x).mean() < 0.02
    assert rotated(x, (28, 28), 0, np.random.default_rng(1)) is x


def test_bytes_come_back_from_the_pixels_that_they_became() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert (input_to_pixels(every.astype(np.float32) / np.float32(255)) == every).all()
