"""Whatever is in a file that the command line reads, it says what is wrong in one line and ends with 2."""

import gzip
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from service.cli import main
from service.errors import CRASHED

SIDE, IMAGES, CLASSES = 3, 20, 3
FEATURES = SIDE * SIDE
WEIGHTS = Weights(TwoLayerNet(FEATURES, 4, CLASSES, "he", seed=1, dtype=np.float32).params, image_shape=(SIDE, SIDE))
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (IMAGES, SIDE, SIDE), dtype=np.uint8)
LABELS = np.arange(IMAGES, dtype=np.uint8) % CLASSES
NUMBERS_THAT_ARE_TOO_LARGE = pytest.mark.filterwarnings("ignore::RuntimeWarning")
"""Of numpy, where a damaged file is still a good one, but for the size of its numbers."""


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def npz(packing: int = zipfile.ZIP_STORED, /, **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, array in arrays.items():
            one = io.BytesIO()
            np.save(one, array)
            archive.writestr(f"{name}.npy", one.getvalue())
    return stream.getvalue()


FILES = {
    "weights.npz": weights_file.to_bytes(WEIGHTS),
    "train-images-idx3-ubyte": idx(PIXELS),
    "train-labels-idx1-ubyte": idx(LABELS),
    "t10k-images-idx3-ubyte": idx(PIXELS),
    "t10k-labels-idx1-ubyte": idx(LABELS),
    "examples.npz": npz(
        x=(PIXELS.reshape(IMAGES, -1) / 255).astype(np.float32),
        t=LABELS.astype(np.int64),
        model_version=np.arange(IMAGES),
    ),
    "data.npz": npz(x_train=PIXELS, y_train=LABELS, x_test=PIXELS, y_test=LABELS.astype(float)),
    "data.csv": "".join(
        f"{('a', 'b', 'c')[label]},{','.join(map(str, image.ravel()))}\n"
        for image, label in zip(PIXELS, LABELS, strict=True)
    ).encode(),
}
EVALUATE = ("evaluate", "--weights", "weights.npz", "--data", ".")
PUBLISH = ("publish", "weights.npz", "--data", ".", "--url", "http://127.0.0.1:9")
TRAIN = ("train", "--data", ".", "--epochs", "1", "--out", "out.npz")
GO_ON = (*TRAIN, "--weights", "weights.npz")
LEARN = (*TRAIN, "--examples", "examples.npz")
ALONE = ("train", "--data", "none", "--epochs", "1", "--out", "out.npz", "--examples", "examples.npz")
COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "weights.npz": [EVALUATE, PUBLISH, GO_ON],
    "examples.npz": [LEARN, ALONE],
    **{name: [tuple(name if word == "." else word for word in TRAIN)] for name in ("data.npz", "data.csv")},
    **{name: [EVALUATE, TRAIN] for name in FILES if name.endswith("ubyte")},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result_of(arguments: tuple[str, ...]) -> Result:
    """Of the command, which must have ended as a command does."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code != CRASHED, (arguments, result.stderr)
    return result


def is_refused(arguments: tuple[str, ...]) -> str:
    result = result_of(arguments)
    lines = result.stderr.splitlines()
    assert result.exit_code == 2, (arguments, result.output)
    assert len(lines) == 1, lines
    assert lines[0].startswith("twolayernet: ")
    assert len(lines[0]) < 1000
    return lines[0]


def test_the_files_are_good_as_they_are(folder: Path) -> None:
    for arguments in (EVALUATE, GO_ON, LEARN, ALONE, *COMMANDS["data.npz"], *COMMANDS["data.csv"]):
        assert result_of(arguments).exit_code == 0
    assert "does not answer" in is_refused(PUBLISH)


EXAMPLES = {"x": np.zeros((IMAGES, FEATURES), np.float32), "t": LABELS.astype(int), "model_version": np.arange(IMAGES)}
BAD_FILES = [
    ("weights.npz", b"", "not a .npz file"),
    ("weights.npz", npz(zipfile.ZIP_LZMA, **WEIGHTS.params), "compression method 14"),
    (
        "weights.npz",
        npz(**WEIGHTS.params, settings=np.array('{"training":' + '{"a":' * 975 + "1" + "}" * 976)),
        "levels",
    ),
    ("weights.npz", npz(**WEIGHTS.params, settings=np.array('{"activation":["relu"]}')), "activation"),
    ("weights.npz", npz(**WEIGHTS.params, settings=np.frombuffer(b"\xff\xff\xff\x7f", "<U1").reshape(())), "settings"),
    ("weights.npz", npz(**{**WEIGHTS.params, "W1": np.zeros(6, "<M8[s]")}), "only plain numbers"),
    ("examples.npz", b"PK", "not a .npz file"),
    ("examples.npz", npz(**{**EXAMPLES, "x": np.zeros((IMAGES, 0), np.float32)}), "x is float32 (20, 0)"),
    ("examples.npz", npz(**{**EXAMPLES, "t": np.array(0)}), "t is int64 ()"),
    ("examples.npz", npz(**EXAMPLES, t_in_force=LABELS[1:]), "t_in_force is uint8 (19,): expected 20"),
    ("examples.npz", npz(**EXAMPLES, in_force=np.ones(3, bool)), "in_force is bool (3,): expected 20 booleans"),
    ("examples.npz", npz(**EXAMPLES, rehearsed=LABELS), "rehearsed is uint8 (20,): expected 20 booleans"),
    ("examples.npz", npz(**EXAMPLES, in_force=np.zeros(IMAGES, bool)), "has no examples in force"),
    ("examples.npz", npz(**{**EXAMPLES, "x": np.full((IMAGES, FEATURES), np.nan)}), "pixels 0…1"),
    ("examples.npz", npz(**{**EXAMPLES, "x": np.zeros((IMAGES, 4), np.float32)}), "4"),
    ("data.npz", b"", "data.npz: not a .npz file"),
    ("data.npz", npz(x=PIXELS), "data.npz: the array t is missing"),
    ("data.csv", b"", "data.csv holds nothing"),
    ("data.csv", b"a,1,2\nb,1\n", "data.csv: line 2 has 2 columns"),
    ("train-images-idx3-ubyte", b"", "magic number"),
    ("train-images-idx3-ubyte", b"\x1f\x8b", "can't be read"),
    ("train-images-idx3-ubyte", gzip.compress(idx(PIXELS), mtime=0)[:-12], "can't be read"),
    ("train-images-idx3-ubyte", bytes([0, 0, 8, 3]) + b"\xff" * 12, "promises"),
    ("train-images-idx3-ubyte", bytes([0, 0, 8, 3, 0, 0, 0, 0]) + b"\xff" * 8, "is empty"),
    ("train-images-idx3-ubyte", bytes([0, 0, 8, 3]) + bytes(12), "is empty"),
    ("train-labels-idx1-ubyte", bytes([0, 0, 8, 1, 0, 0, 0, 0]), "is empty"),
    ("t10k-images-idx3-ubyte", idx(PIXELS[:, 1:]), "training images"),
]


@pytest.mark.parametrize(("name", "data", "message"), BAD_FILES)
def test_a_file_that_can_t_be_used_is_one_line_and_exit_code_2(
    folder: Path, name: str, data: bytes, message: str
) -> None:
    (folder / name).write_bytes(data)
    for arguments in COMMANDS[name]:
        if arguments == ALONE and message == "4":
            continue  # alone, examples of any number of pixels will do
        assert message in is_refused(arguments)


def damaged(data: bytes, changes: list[tuple[float, int]], cut: float) -> bytes:
    changed = bytearray(data)
    for at, byte in changes:
        changed[int(at * len(data))] = byte
    return bytes(changed[: int(len(data) * cut)])


def ends_as_it_should(folder: Path, name: str, data: bytes) -> None:
    """Damage that leaves a good file is none; any other is one line."""
    (folder / name).write_bytes(data)
    for arguments in COMMANDS[name]:
        result = result_of(arguments)
        assert result.exit_code in (0, 2), result.output
        if result.exit_code == 2:
            assert len(result.stderr.splitlines()[-1]) < 1000, result.stderr
    (folder / name).write_bytes(FILES[name])


damages = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5)
cuts = st.sampled_from([1.0, 1.0, 1.0, 0.99, 0.5, 0.01])
quick = hypothesis_settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
long = hypothesis_settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@NUMBERS_THAT_ARE_TOO_LARGE
@given(name=st.sampled_from(sorted(FILES)), changes=damages, cut=cuts)
@example("train-images-idx3-ubyte", [(4 / 196, 0), (8 / 196, 255), (12 / 196, 255)], 1.0)
@quick
def test_no_damage_to_a_file_gets_a_traceback(
    folder: Path, name: str, changes: list[tuple[float, int]], cut: float
) -> None:
    ends_as_it_should(folder, name, damaged(FILES[name], changes, cut))


@pytest.mark.long
@NUMBERS_THAT_ARE_TOO_LARGE
@given(name=st.sampled_from(sorted(FILES)), changes=damages, cut=cuts)
@long
def test_no_damage_to_a_file_gets_a_traceback_looked_for_long(
    folder: Path, name: str, changes: list[tuple[float, int]], cut: float
) -> None:
    ends_as_it_should(folder, name, damaged(FILES[name], changes, cut))


def test_what_was_written_before_can_still_be_read(folder: Path) -> None:
    old = npz(**WEIGHTS.params, settings=np.array(json.dumps({"activation": "sigmoid", "image_shape": [3, 3]})))
    (folder / "weights.npz").write_bytes(old)
    assert result_of(EVALUATE).exit_code == 0
