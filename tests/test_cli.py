"""The command as a person uses it, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from model import TwoLayerNet, weights_file
from model.datasets import load_dataset
from model.training import as_input
from model.weights_file import Weights
from service.cli import Commands, main

ROOT = Path(__file__).parents[1]
MNIST = ROOT.parent / "shared" / "mnist"
"""The four files, on machines that have them."""


def twolayernet(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.long
def test_training_on_the_packaged_digits_reaches_96_percent(trained_by_default: Path) -> None:
    printed = (trained_by_default / "stdout").read_text()
    assert "weights: weights.npz" in printed
    assert "validation" in (trained_by_default / "stderr").read_text()
    network = weights_file.load(trained_by_default / "weights.npz").network()
    accuracy = network.accuracy(*as_input(load_dataset("digits").test))
    assert accuracy >= 0.96
    assert f"{accuracy:.2%}" in printed
    evaluated = twolayernet("evaluate", "--weights", trained_by_default / "weights.npz")
    assert f"test accuracy {accuracy:.2%}" in evaluated.stdout


@pytest.mark.long
@pytest.mark.skipif(not MNIST.is_dir(), reason="full MNIST is not on this machine")
def test_training_on_full_mnist_reaches_98_percent(tmp_path: Path) -> None:
    trained = twolayernet("train", "--data", MNIST, "--out", tmp_path / "w.npz")
    accuracy = weights_file.load(tmp_path / "w.npz").network().accuracy(*as_input(load_dataset(str(MNIST)).test))
    assert accuracy >= 0.98, trained.stdout


@pytest.mark.long
def test_the_same_seed_gives_the_same_file_to_the_bit(tmp_path: Path) -> None:
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        twolayernet("train", "--epochs", "2", "--drawn", "500", "--seed", str(seed), "--out", tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_interrupted_it_saves_what_it_has(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli", "train", "--epochs", "100000", "--drawn", "0"]
    progress = tmp_path / "progress"
    with open(progress, "w") as stderr:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stderr=stderr,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's & takes it away
        )
    deadline = time.monotonic() + 300
    while "validation" not in progress.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130, progress.read_text()
    assert "weights: weights.npz" in out
    weights = weights_file.load(tmp_path / "weights.npz")
    assert 0 < weights.training["epochs_done"] < 100000


@pytest.mark.long
def test_an_interrupted_job_can_be_resumed_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    options = ["--epochs", "60", "--hidden", "20", "--drawn", "500"]
    twolayernet("train", *options, "--out", tmp_path / "whole.npz")
    command = [sys.executable, "-m", "service.cli", "train", *options]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=log, stdout=log)
    deadline = time.monotonic() + 300
    while not (tmp_path / "weights.npz.checkpoint").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()  # not even a chance to tidy up
    process.wait()
    assert not (tmp_path / "weights.npz").exists()
    resumed = twolayernet("train", *options, "--resume", cwd=tmp_path)
    assert "continuing after epoch" in resumed.stdout, resumed.stderr
    assert not (tmp_path / "weights.npz.checkpoint").exists()
    assert same_params(tmp_path / "weights.npz", tmp_path / "whole.npz")


def same_params(first: Path, second: Path) -> bool:
    with np.load(first) as a, np.load(second) as b:
        return all((a[name] == b[name]).all() for name in ("W1", "b1", "W2", "b2"))


@pytest.mark.long
def test_quiet_prints_nothing_and_does_the_same(tmp_path: Path) -> None:
    for name, more in (("loud", []), ("quiet", ["--quiet"])):
        result = twolayernet("train", "--epochs", "1", "--drawn", "0", "--out", tmp_path / name, *more)
        assert result.returncode == 0
        assert bool(result.stdout + result.stderr) == (name == "loud")
    assert (tmp_path / "loud").read_bytes() == (tmp_path / "quiet").read_bytes()


@pytest.mark.long
def test_a_report_has_pictures_and_the_figures(tmp_path: Path) -> None:
    trained = twolayernet("train", "--epochs", "3", "--drawn", "500", "--report", "report", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    figures = json.loads((tmp_path / "report" / "report.json").read_text())
    assert f"test accuracy {figures['test_accuracy']:.2%}" in trained.stdout
    assert [epoch["number"] for epoch in figures["history"]] == [1, 2, 3]
    matrix = np.array(figures["confusion_matrix"])
    assert matrix.sum() == figures["test_images"] == 1000
    assert matrix.trace() == round(1000 * figures["test_accuracy"])
    for name in ("learning_curves", "confusion_matrix", "first_layer", "mistakes", "drawn_digits", "distorted"):
        with Image.open(tmp_path / "report" / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").tobytes())) > 50


def test_the_weights_file_says_how_it_was_made(tmp_path: Path) -> None:
    twolayernet("train", "--epochs", "1", "--activation", "sigmoid", "--hidden", "20", "--out", tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as arrays:
        assert arrays["W1"].shape == (784, 20)
        settings = json.loads(str(arrays["settings"]))
    assert settings["activation"] == "sigmoid"
    assert settings["image_shape"] == [28, 28]
    assert settings["training"]["dataset"] == "digits"


@pytest.mark.long
def test_gradcheck_prints_every_parameter_and_fails_above_the_tolerance() -> None:
    for activation in ("relu", "sigmoid"):
        passed = twolayernet("gradcheck", "--activation", activation)
        assert passed.returncode == 0, passed.stderr
        assert len(passed.stdout.splitlines()) == 8
    failed = twolayernet("gradcheck", "--tolerance", "1e-15")
    assert failed.returncode == 1
    assert "above the tolerance" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere"], "nowhere does not exist: expected digits, mnist,"),
        (["train", "--out", "nowhere/w.npz"], "its folder does not exist"),
        (["train", "--out", "/sys/w.npz"], "twolayernet: /sys/w.npz can't be written: "),
        (["train", "--report", "/sys/report"], "twolayernet: /sys/report can't be written: "),
        (["train", "--hidden", "0"], "--hidden"),
        (["train", "--learning-rate", "0"], "--learning-rate"),
        (["evaluate", "--weights", "nowhere.npz"], "nowhere.npz can't be read"),
        (["evaluate"], "--weights"),
        (["train", "--data", "."], "and no sub-folder of pictures: it has train.csv; expected digits, mnist,"),
        (["train", "--data", "none"], "--data none requires --examples"),
        (["train", "--resume"], "nothing to resume: weights.npz.checkpoint does not exist"),
        (["train", "--weights", "nowhere.npz"], "nowhere.npz can't be read"),
        (["train", "--examples", "nowhere.npz"], "nowhere.npz can't be read: No such file"),
        (["train", "--examples", "http://127.0.0.1:9"], "http://127.0.0.1:9/examples does not answer"),
        (["publish", "nowhere.npz", "--url", "http://127.0.0.1:9"], "nowhere.npz can't be read"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.csv").touch()
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


WITHOUT_ANYTHING_ELSE = """
import importlib.metadata, re, sys
from pathlib import Path
locks = "".join(Path(path).read_text() for path in sys.argv.pop(1).split(":"))
names = set(re.findall(r"^([a-z0-9-]+)==", locks, re.MULTILINE)) | {"twolayernet-service"}
for module, packages in importlib.metadata.packages_distributions().items():
    if not names & {re.sub(r"[._-]+", "-", package).lower() for package in packages}:
        sys.modules[module] = None
from service.cli import Commands, main
main(prog_name="twolayernet")
"""


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["train", "--epochs", "1", "--drawn", "0"], 0, "epoch 1/1: loss"),
        pytest.param(
            ["train", "--examples", "http://127.0.0.1:9"],
            2,
            "examples does not answer: Connection refused",
            marks=pytest.mark.long,
        ),
        pytest.param(["train", "--data", "mnist"], 2, "can't be downloaded", marks=pytest.mark.long),
        pytest.param(
            ["train", "--report", "report"], 2, "--report needs the package matplotlib: install", marks=pytest.mark.long
        ),
        (["publish", "weights.npz", "--url", "http://127.0.0.1:9"], 2, "weights does not answer: Connection refused"),
    ],
)
def test_the_command_needs_nothing_but_what_make_serve_installs(
    tmp_path: Path, weights: Weights, arguments: list[str], exit_code: int, message: str
) -> None:
    locks = ":".join(str(ROOT / "requirements" / name) for name in ("run.txt", "digits.txt"))
    command = [sys.executable, "-c", WITHOUT_ANYTHING_ELSE, locks, *arguments]
    environment = {**os.environ, "TWOLAYERNET_MNIST_MIRROR": "http://127.0.0.1:9", "XDG_CACHE_HOME": str(tmp_path)}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert ended.returncode == exit_code, ended.stderr
    [line] = ended.stderr.splitlines()
    assert message in line


def test_a_crash_is_not_taken_for_a_worse_network() -> None:
    @click.command()
    @click.argument("how")
    def broken(how: str) -> None:
        raise {"crash": RuntimeError("unforeseen"), "ctrl-c": KeyboardInterrupt(), "usage": click.UsageError("no")}[how]

    def run(how: str) -> tuple[int, bool]:
        ended = CliRunner().invoke(Commands(commands=[broken]), ["broken", how])
        return ended.exit_code, "RuntimeError: unforeseen" in ended.stderr

    assert [run(how) for how in ("crash", "ctrl-c", "usage")] == [(70, True), (130, False), (2, False)]


def test_a_process_with_a_mistake_ends_with_its_exit_code(tmp_path: Path) -> None:
    result = twolayernet("evaluate", "--weights", "nowhere.npz", cwd=tmp_path)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)


def test_a_weights_file_that_does_not_say_its_activation_is_used_with_the_one_that_is_named(tmp_path: Path) -> None:
    network = TwoLayerNet(784, 20, 10, "xavier", activation="sigmoid", seed=1, dtype=np.float32)
    plain, saying = str(tmp_path / "plain.npz"), str(tmp_path / "saying.npz")
    np.savez(plain, **network.params)  # type: ignore[arg-type]
    weights_file.save(saying, Weights(network.params, "sigmoid", (28, 28)))
    run = CliRunner().invoke
    expected = run(main, ["evaluate", "--weights", saying]).output
    assert "test accuracy" in expected
    assert run(main, ["evaluate", "--weights", plain, "--activation", "sigmoid"]).output == expected
    assert run(main, ["evaluate", "--weights", plain]).output != expected
    training = ["--epochs", "1", "--drawn", "0", "--hidden", "20", "--quiet", "--out", str(tmp_path / "out.npz")]
    assert run(main, ["train", "--weights", plain, "--activation", "sigmoid", *training]).exit_code == 0
    assert weights_file.load(tmp_path / "out.npz").activation == "sigmoid"
    for command in (["evaluate"], ["train", *training]):
        refused = run(main, [*command, "--weights", saying, "--activation", "relu"])
        assert (refused.exit_code, "records the activation sigmoid, not relu" in refused.stderr) == (2, True)
