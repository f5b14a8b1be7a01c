"""What networks make of digits from elsewhere: MNIST's test images, people's pictures, and fonts.

`python -m bench.hands [FILE.npz …] [--data DIR] [--pictures DIR] [--leave-out HANDS | --only HANDS]` measures weights
files; without any it trains networks as `twolayernet train` does, of `--hidden` units. DIR of `--pictures` has a
`labels.tsv` with a file's name and its digit in each line; the name up to the first "-" is that of the hand. Pictures
and fonts are read as /predict reads pictures. A picture that is refused counts as wrong.
"""

import argparse
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model import weights_file
from model.datasets import Dataset, Split, load_dataset
from model.functions import softmax
from model.online_step import online_step
from model.training import Trainer, TrainingOptions, as_input
from model.weights_file import Weights
from service.decoders.picture import read_picture
from service.http.problems import BadInput

SHAPE = (28, 28)
CONFIDENT = 0.9
FONT_SIZES = (48, 150)
STEPS = 200


class Pictures(NamedTuple):
    """Those that were read, and how many were refused."""

    read: Split
    refused: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--only", type=lambda text: text.split(","), help="of these hands, separated by commas")
    parser.add_argument("--leave-out", type=lambda text: text.split(","), default=[], help="all hands but these")
    parser.add_argument("--hidden", type=int, nargs="*", default=[50])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dataset = load_dataset(options.data)
    networks = (
        ((path.name, weights_file.load(path)) for path in options.weights)
        if options.weights
        else trained(dataset, options.hidden, options.seed)
    )
    kinds = {"test images": Pictures(dataset.test, 0), "fonts": fonts()}
    if options.pictures:
        kinds["pictures"] = by_hand(options.pictures, options.only, options.leave_out)
    print("| network | images | right | refused | wrong | of these at p > 0.9 |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name, weights in networks:
        for kind, pictures in kinds.items():
            print(f"| {name} | {kind} | {measured(weights, pictures)} |", flush=True)


def trained(dataset: Dataset, hidden: list[int], seed: int) -> Iterator[tuple[str, Weights]]:
    """As `twolayernet train` does it, with what each costs."""
    for units in hidden:
        started = time.process_time()
        trainer = Trainer(dataset, TrainingOptions(hidden=units, seed=seed))
        for _ in trainer.epochs():
            pass
        seconds = time.process_time() - started
        weights = trainer.weights()
        size = len(weights_file.to_bytes(weights))
        yield f"{units} units: {seconds:.1f} CPU s, {step_milliseconds(weights):.2f} ms a step, {size:,} bytes", weights


def step_milliseconds(weights: Weights) -> float:
    """CPU of a train-step of one image, without rehearsal."""
    image, label = np.zeros((1, weights.input_size), np.uint8), np.array([1])
    started = time.process_time()
    for _ in range(STEPS):
        online_step(weights, image, label, 0.01)
    return 1000 * (time.process_time() - started) / STEPS


def measured(weights: Weights, pictures: Pictures) -> str:
    x, t = as_input(pictures.read)
    probabilities = softmax(weights.network().predict(x))
    wrong = probabilities.argmax(axis=1) != t
    confident = int((wrong & (probabilities.max(axis=1) > CONFIDENT)).sum())
    count, right = len(t) + pictures.refused, len(t) - int(wrong.sum())
    return f"{right} of {count}, {right / count:.1%} | {pictures.refused} | {int(wrong.sum())} | {confident}"


def by_hand(folder: Path, only: list[str] | None, leave_out: list[str]) -> Pictures:
    lines = [line.split("\t")[:2] for line in (folder / "labels.tsv").read_text().splitlines()]
    hands = {name: name.partition("-")[0].removeprefix("hand") for name, _ in lines}
    return read(
        ((folder / name).read_bytes(), int(label))
        for name, label in lines
        if hands[name] not in leave_out and (only is None or hands[name] in only)
    )


def fonts() -> Pictures:
    """The digits of the font that Pillow has, and of those that matplotlib has where it is installed."""
    files: list[Path] = []
    try:
        import matplotlib as mpl

        files = sorted(Path(mpl.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf"))
    except ImportError:
        pass
    faces = [ImageFont.load_default(size) for size in FONT_SIZES]
    faces += [
        ImageFont.truetype(str(file), size) for file in files for size in FONT_SIZES if "Display" not in file.name
    ]
    return read((printed(str(digit), face), digit) for face in faces for digit in range(10))


def printed(text: str, face: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> bytes:
    left, top, right, bottom = face.getbbox(text)
    margin = (bottom - top) // 2
    picture = Image.new("L", (int(right - left + 2 * margin), int(bottom - top + 2 * margin)), 255)
    ImageDraw.Draw(picture).text((margin - left, margin - top), text, fill=0, font=face)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def read(pictures: Iterator[tuple[bytes, int]]) -> Pictures:
    images, labels, refused = [], [], 0
    for data, label in pictures:
        try:
            images.append(read_picture(data, SHAPE, ()).pixels.ravel())
            labels.append(label)
        except BadInput:
            refused += 1
    return Pictures(Split(np.array(images), np.array(labels, np.uint8)), refused)


if __name__ == "__main__":
    main()
