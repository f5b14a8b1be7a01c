"""`twolayernet train --data` with what people have, and what it does where that can't be learnt."""

import io
import json
import runpy
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from model import TwoLayerNet, weights_file
from model.datasets import Dataset, DatasetError, Split, packaged_digits
from model.datasets.splits import validation_split
from model.weights_file import Weights
from service.cli import main
from service.cli.picture_folder import load_data
from service.errors import CRASHED

NAMES = ("one", "seven")


@cache
def digits() -> Split:
    """80 of them, ones and sevens."""
    train = packaged_digits().train
    return train.take(np.flatnonzero(np.isin(train.labels, (1, 7)))[::10])


def twolayernet(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code != CRASHED, result.stderr
    return result


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image.reshape(28, 28)).save(stream, "PNG")
    return stream.getvalue()


def drawn(folder: Path) -> Path:
    """A sub-folder of pictures for each class, light on dark as in the data set or dark on light, as on paper."""
    for i, (image, label) in enumerate(zip(digits().images, digits().labels, strict=True)):
        path = folder / ("one" if label == 1 else "seven") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image if i % 2 else 255 - image))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return drawn(tmp_path / "pictures")


def images(dataset: Dataset) -> set[bytes]:
    return {image.tobytes() for image in (dataset.train + dataset.test).images}


def test_a_folder_of_pictures_for_each_class_is_prepared_as_predict_does(pictures: Path) -> None:
    (pictures / "one" / ".DS_Store").write_bytes(b"\0")
    (pictures / ".cache").mkdir()
    dataset = load_data(str(pictures))
    assert (dataset.name, dataset.label_names, dataset.image_shape) == ("pictures", NAMES, (28, 28))
    assert len(images(dataset) & {image.tobytes() for image in digits().images}) >= 40
    assert set(dataset.test.labels) == {0, 1}
    assert 8 <= len(dataset.test) <= 24


def test_train_and_test_sub_folders_are_what_they_are_called(tmp_path: Path) -> None:
    drawn(tmp_path / "train")
    drawn(tmp_path / "test" / "one" / "deeper").joinpath("one").rename(tmp_path / "test" / "seven")
    dataset = load_data(str(tmp_path))
    assert (len(dataset.train), len(dataset.test), dataset.label_names) == (80, 80, NAMES)
    (tmp_path / "test" / "eight").mkdir()
    with pytest.raises(DatasetError, match=r"test/eight: there is no class of that name in .*train"):
        load_data(str(tmp_path))


def test_classes_whose_names_are_numbers_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    for name in ("10", "2", "1"):
        (tmp_path / name).mkdir()
        for i in (0, 1):
            (tmp_path / name / f"{i}.png").write_bytes(png(digits().images[i]))
    assert load_data(str(tmp_path)).label_names == ("1", "2", "10")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("one/blank.png", png(np.zeros(784, np.uint8)), r"one/blank.png: nothing stands out"),
        ("one/cut.png", png(np.zeros(784, np.uint8))[:60], r"one/cut.png: "),
        ("one/notes.txt", b"", r"one/notes.txt is not named as a picture: expected .png, .jpg, .jpeg"),
        ("three/.hidden", b"", r"three has no pictures"),
    ],
    ids=["blank", "cut off", "no picture", "empty"],
)
def test_what_is_wrong_in_a_folder_of_pictures_is_named(pictures: Path, name: str, data: bytes, message: str) -> None:
    (pictures / name).parent.mkdir(exist_ok=True)
    (pictures / name).write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        load_data(str(pictures))


def test_many_pictures_that_can_t_be_used_are_one_line(pictures: Path) -> None:
    for i in range(9):
        (pictures / "one" / f"blank{i}.png").write_bytes(png(np.zeros(784, np.uint8)))
    result = twolayernet("train", "--data", pictures)
    assert result.exit_code == 2
    assert result.stderr.count("blank") == 3
    assert result.stderr.endswith("; and 6 more\n")


def test_names_go_into_the_weights_and_evaluate_prints_them(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.npz"
    trained = twolayernet("train", "--data", pictures, "--epochs", "15", "--out", out)
    assert trained.exit_code == 0, trained.output
    assert weights_file.load(out).label_names == NAMES
    evaluated = twolayernet("evaluate", "--data", pictures, "--weights", out)
    assert "\n  one: " in evaluated.stdout
    assert "\n  seven: " in evaluated.stdout
    assert evaluated.stdout.splitlines() == trained.stdout.splitlines()[1:-1]
    (pictures / "one").rename(pictures / "ones")
    refused = twolayernet("evaluate", "--data", pictures, "--weights", out)
    assert refused.exit_code == 2
    assert "the classes of the weights are 'one', 'seven', those of pictures 'ones', 'seven'" in refused.stderr


def test_a_network_is_not_measured_on_classes_of_other_names_without_a_word(pictures: Path, tmp_path: Path) -> None:
    params = TwoLayerNet(784, 8, 2, "he", seed=0, dtype=np.float32).params
    weights_file.save(tmp_path / "numbers.npz", Weights(params, image_shape=(28, 28)))
    weights_file.save(tmp_path / "names.npz", Weights(params, image_shape=(28, 28), label_names=NAMES))
    numbers = tmp_path / "numbers_of_classes.npz"
    np.savez(numbers, x=digits().images, t=digits().labels // 7)

    def evaluated(weights: str, data: Path) -> tuple[int, str]:
        result = twolayernet("evaluate", "--weights", tmp_path / weights, "--data", data)
        return result.exit_code, result.stderr

    assert evaluated("names.npz", pictures) == evaluated("numbers.npz", numbers) == (0, "")
    code, said = evaluated("numbers.npz", pictures)
    assert (code, "the classes of the weights are numbers, those of pictures 'one', 'seven'" in said) == (2, True)
    code, said = evaluated("names.npz", numbers)
    assert (code, "are numbers: they are taken as 'one', 'seven', in this order" in said) == (0, True)
    (pictures / "one").rename(pictures / "0")
    (pictures / "seven").rename(pictures / "1")
    assert evaluated("numbers.npz", pictures) == (0, "")


def learnt(path: Path, x: np.ndarray, t: np.ndarray) -> Path:
    np.savez(path, x=(x / 255).astype(np.float32), t=t.astype(np.int64), model_version=np.arange(len(t)) + 1)
    return path


def test_examples_beside_pictures_but_for_the_test_images(pictures: Path, tmp_path: Path) -> None:
    test = load_data(str(pictures)).test.take(np.arange(5))
    new = packaged_digits().test.take(np.array([100, 101, 102]))  # ones
    examples = learnt(
        tmp_path / "examples.npz",
        np.concatenate([test.images, new.images]),
        np.concatenate([test.labels, np.zeros(3, np.uint8)]),
    )
    command = ("train", "--data", pictures, "--epochs", "2", "--out", tmp_path / "w.npz", "--examples", examples)
    trained = twolayernet(*command)
    assert "5 of 8 examples are test images of pictures: they are left out" in trained.stderr
    weights = weights_file.load(tmp_path / "w.npz")
    assert (weights.training["dataset"], weights.label_names) == ("pictures and 3 examples", NAMES)
    learnt(examples, new.images, np.array([0, 1, 2]))
    refused = twolayernet(*command)
    assert refused.exit_code == 2
    assert "the examples have a class 2, pictures has 2" in refused.stderr


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--hidden", "9", "it can't be 9"), ("--activation", "relu", "records the activation sigmoid, not relu")],
)
def test_weights_of_another_kind_are_not_gone_on_from(tmp_path: Path, option: str, value: str, message: str) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, x=digits().images, t=digits().labels)
    base = ("train", "--data", data, "--epochs", "1", "--drawn", "0", "--out", tmp_path / "w.npz")
    assert twolayernet(*base, "--hidden", "8", "--activation", "sigmoid").exit_code == 0
    before = (tmp_path / "w.npz").read_bytes()
    refused = twolayernet(*base, "--weights", tmp_path / "w.npz", option, value)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert (tmp_path / "w.npz").read_bytes() == before
    assert twolayernet(*base, "--weights", tmp_path / "w.npz", "--hidden", "8").exit_code == 0
    after = weights_file.load(tmp_path / "w.npz")
    assert (after.hidden_size, after.activation, after.training["hidden"]) == (8, "sigmoid", 8)


def test_a_training_that_diverges_leaves_the_file_as_it_is_until_told_to(tmp_path: Path) -> None:
    out = tmp_path / "w.npz"
    assert twolayernet("train", "--epochs", "3", "--drawn", "0", "--out", out).exit_code == 0
    before = out.read_bytes()
    for rate, force in (("10", ()), ("1e30", ()), ("1e30", ("--force",))):
        diverged = twolayernet("train", "--epochs", "3", "--drawn", "0", "--out", out, "--learning-rate", rate, *force)
        assert diverged.exit_code == 1
        assert diverged.stderr.splitlines()[-1].startswith("twolayernet: the training diverged: ")
        assert f"{out} is left as it was" in diverged.stderr
        assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]
    assert (
        twolayernet(
            "train", "--epochs", "3", "--drawn", "0", "--out", out, "--learning-rate", "10", "--force"
        ).exit_code
        == 0
    )
    assert out.read_bytes() != before


def test_the_examples_that_are_given_out_are_validation_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["digits.py", "50", "--labels"])
    runpy.run_path(str(Path(__file__).parents[1] / "examples" / "digits.py"))
    body = json.loads(capsys.readouterr().out)
    kept_out, _ = validation_split(packaged_digits().train)
    known = {image.tobytes(): int(label) for image, label in zip(kept_out.images, kept_out.labels, strict=True)}
    given = [bytes(image) for image in body["images"]]
    assert len(set(given)) == 50
    assert [known[image] for image in given] == body["labels"]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("training", "testing"),
        ("Train", "Test"),
        ("train", "valid"),
        ("digits/training", "digits/testing"),
        ("trainingSet/trainingSet", "testSet/testSet"),
    ],
    ids=["train", "mnist_png", "capitals", "fastai", "in a folder", "Kaggle"],
)
def test_splits_are_recognised_by_their_names(tmp_path: Path, train: str, test: str) -> None:
    for name in (train, test):
        drawn(tmp_path / name)
    dataset = load_data(str(tmp_path))
    assert (len(dataset.train), len(dataset.test), dataset.label_names) == (80, 80, NAMES)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train", "test", "validation"], "has test, train, validation: expected one training and one test folder"),
        (["training", "more"], "has more, training: expected one training and one test folder and no other"),
        (["test", "more"], "has more, test: expected one training and one test folder and no other"),
        (["trainingSet/trainingSet", "trainingSample/trainingSample"], "has trainingSample, trainingSet: expected one"),
        (["anna", "bert"], "anna, bert have sub-folders of the same names, one, seven: it is not clear which of them"),
    ],
    ids=["three splits", "no test", "no training", "Kaggle", "persons with names of classes"],
)
def test_folders_that_may_be_splits_or_classes_are_refused_with_their_names(
    tmp_path: Path, folders: list[str], message: str
) -> None:
    for name in folders:
        drawn(tmp_path / name)
    with pytest.raises(DatasetError, match=message):
        load_data(str(tmp_path))


def test_splits_without_folders_for_classes_are_not_classes(tmp_path: Path) -> None:
    for name in ("train", "test", "plane"):
        (tmp_path / name).mkdir()
        for i in (0, 1):
            (tmp_path / name / f"{i}.png").write_bytes(png(digits().images[i]))
    with pytest.raises(DatasetError, match="has plane, test, train: expected one training and one test folder"):
        load_data(str(tmp_path))
    (tmp_path / "test").rename(tmp_path / "car")
    assert load_data(str(tmp_path)).label_names == ("car", "plane", "train")
    (tmp_path / "car").rename(tmp_path / "test")
    for path in (tmp_path / "plane").iterdir():
        path.unlink()
    (tmp_path / "plane").rmdir()
    with pytest.raises(DatasetError, match=r"train has nothing: expected a sub-folder for each class"):
        load_data(str(tmp_path))


def numbered(folder: Path) -> Path:
    """The classes of a folder, called by their digits."""
    (folder / "one").rename(folder / "1")
    (folder / "seven").rename(folder / "7")
    return folder


def test_a_folder_for_each_person_is_no_class(tmp_path: Path) -> None:
    for person in ("user1", "user2"):
        numbered(drawn(tmp_path / person))
    dataset = load_data(str(tmp_path))
    assert dataset.label_names == ("1", "7")
    assert len(dataset.train) + len(dataset.test) == 160
    assert load_data(str(tmp_path / "user1")).label_names == ("1", "7")
    for person in ("1", "2"):
        (tmp_path / f"user{person}").rename(tmp_path / person)
    with pytest.raises(DatasetError, match="1, 2 have sub-folders of the same names, 1, 7: it is not clear"):
        load_data(str(tmp_path))


def test_a_folder_for_each_person_in_a_class_is_part_of_the_class(tmp_path: Path) -> None:
    drawn(tmp_path)
    for name, digit in (("one", "1"), ("seven", "7")):
        (tmp_path / digit).mkdir()
        for person in ("anna", "bert"):
            (tmp_path / digit / person).mkdir()
        for i, path in enumerate(sorted((tmp_path / name).iterdir())):
            path.rename(tmp_path / digit / ("anna", "bert")[i % 2] / path.name)
        (tmp_path / name).rmdir()
    dataset = load_data(str(tmp_path))
    assert (dataset.label_names, len(dataset.train) + len(dataset.test)) == (("1", "7"), 80)


def test_what_systems_leave_in_a_folder_is_no_picture(pictures: Path) -> None:
    expected = images(load_data(str(pictures)))
    for folder in (
        pictures / "__MACOSX" / "one",
        pictures / "one" / ".ipynb_checkpoints",
        pictures / "one" / "__MACOSX",
    ):
        folder.mkdir(parents=True)
        (folder / "1-checkpoint.png").write_bytes(png(np.full(784, 7, np.uint8)))
    dataset = load_data(str(pictures))
    assert (dataset.label_names, images(dataset)) == (NAMES, expected)


def csv_of(path: Path, header: str, row: str) -> Path:
    """row: with LABEL and PIXELS in it."""
    lines = [
        row.replace("LABEL", str(label)).replace("PIXELS", ",".join(map(str, image)))
        for image, label in zip(digits().images, digits().labels, strict=True)
    ]
    path.write_text("\n".join([*([header] if header else []), *lines, ""]))
    return path


PIXELS = ",".join(f"pixel{i}" for i in range(784))


@pytest.mark.parametrize(
    ("header", "row", "left_out"),
    [
        (f"id,label,{PIXELS}", "9,LABEL,PIXELS", "'id'"),
        (f"Unnamed: 0,label,{PIXELS}", "9,LABEL,PIXELS", "'Unnamed: 0'"),
        (f"label,index,{PIXELS}", "LABEL,9,PIXELS", "'index'"),
        (f"sep=,\nlabel,{PIXELS}", "LABEL,PIXELS", None),
        (f"\ufefflabel,{PIXELS}", "LABEL,PIXELS", None),
    ],
)
def test_a_column_that_numbers_the_rows_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, header: str, row: str, left_out: str | None
) -> None:
    path = csv_of(tmp_path / "digits.csv", header, row)
    dataset = load_data(str(path))
    assert dataset.image_shape == (28, 28)
    assert images(dataset) == {image.tobytes() for image in digits().images}
    expected = [f"{path}: the column {left_out} numbers the rows: it is left out"] if left_out else []
    assert caplog.messages == expected


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (f"label,{PIXELS},fold", "LABEL,PIXELS,3", "the column 'fold' is not one of pixels, as most are: remove it"),
        (
            "",
            "LABEL,9,PIXELS",
            r"has 785 pixels in a row, one more than 28 × 28: a column seems to hold something else",
        ),
    ],
)
def test_a_column_that_is_no_pixel_is_named(tmp_path: Path, header: str, row: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_data(str(csv_of(tmp_path / "digits.csv", header, row)))


@pytest.mark.parametrize(("drawn", "message"), [("0", ""), ("300", ", with 300 digits drawn by code")])
def test_a_training_on_digits_says_how_many_were_drawn(tmp_path: Path, drawn: str, message: str) -> None:
    result = twolayernet("train", "--epochs", "1", "--drawn", drawn, "--out", tmp_path / "w.npz")
    assert result.exit_code == 0, result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("trained 1 of 1 epochs in "))
    assert line.endswith(f" s{message}")
    assert weights_file.load(tmp_path / "w.npz").training["drawn"] == int(drawn)


def test_pictures_of_other_things_get_no_drawn_digits(pictures: Path, tmp_path: Path) -> None:
    command = ("train", "--data", pictures, "--epochs", "1", "--out", tmp_path / "w.npz")
    plain = twolayernet(*command)
    assert plain.exit_code == 0
    assert "drawn" not in plain.stdout
    asked = twolayernet(*command, "--drawn", "300")
    assert asked.exit_code == 2
    assert "pictures does not show the ten digits: digits drawn by code do not fit it" in asked.stderr
