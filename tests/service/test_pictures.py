"""Pictures as people have them, brought to what the network was trained on."""

import base64
import contextlib
import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from model import weights_file
from model.datasets import Split, pixels_to_input
from model.weights_file import Weights
from service.app import create_app
from service.decoders import picture as picture_module
from service.decoders.picture import MOST_PICTURE_PIXELS, decoded, header_and_cost
from service.decoders.picture import read_picture as read_digit
from service.decoders.picture_kinds import KINDS, Header, PictureKind, heic, read_header
from service.http.problems import BadInput
from service.schemas.answers import PredictAnswer
from service.settings import Settings
from tests.bill import claims
from tests.conftest import Client, shared_client
from tests.service.drawing import STROKES, drawn, encoded, photographed
from tests.service.test_bad_input import is_problem

SHAPE = (28, 28)


def read_picture(data: bytes, shape: tuple[int, int], location: tuple[()]) -> np.ndarray:
    return read_digit(data, shape, location).pixels.ravel()


@pytest.fixture(scope="module")
def shared_weights(trained: Weights) -> bytes:
    """The service knows digits."""
    return weights_file.to_bytes(trained)


client = shared_client


def recognised(weights: Weights, pixels: np.ndarray) -> np.ndarray:
    labels: np.ndarray = weights.network().predict(pixels_to_input(pixels)).argmax(axis=1)
    return labels


def accuracy_as(weights: Weights, images: Split, render: Callable[[Image.Image], bytes]) -> float:
    pictures = [render(Image.fromarray(image.reshape(SHAPE))) for image in images.images]
    pixels = np.stack([read_picture(picture, SHAPE, ()) for picture in pictures])
    return float((recognised(weights, pixels) == images.labels).mean())


@pytest.mark.long
def test_jpegs_of_280_pixels_dark_on_light_are_recognised_as_the_pixels_are(trained: Weights, held_out: Split) -> None:
    some = held_out.take(np.arange(0, 1000, 10))
    of_pixels = float((recognised(trained, some.images) == some.labels).mean())

    def dark_on_light(image: Image.Image, size: int, filter_: Image.Resampling) -> bytes:
        return encoded(ImageOps.invert(image).resize((size, size), filter_), "JPEG")

    for style in ((280, Image.Resampling.BICUBIC), (97, Image.Resampling.BILINEAR)):
        of_pictures = accuracy_as(trained, some, partial(dark_on_light, size=style[0], filter_=style[1]))
        assert of_pictures > of_pixels - 0.025
    assert accuracy_as(trained, some, lambda image: encoded(image, "PNG")) == of_pixels
    photographs = accuracy_as(
        trained, some, lambda image: encoded(photographed(ImageOps.invert(image).resize((280, 280))), "JPEG")
    )
    assert photographs > of_pixels - 0.03


def test_a_picture_of_the_network_s_own_size_is_taken_as_it_is(held_out: Split) -> None:
    image = held_out.images[7]
    for picture in (image.reshape(SHAPE), 255 - image.reshape(SHAPE)):
        assert (read_picture(encoded(Image.fromarray(picture)), SHAPE, ()) == image).all()


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine between two images, one of them moved by up to a pixel."""
    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    moved = [np.roll(b.reshape(SHAPE), shift, (0, 1)).ravel() for shift in shifts]
    return max(float(a @ shifted) for shifted in moved) / float(np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("digit", STROKES)
@pytest.mark.parametrize(
    "style",
    [
        {},
        {"ink": 255, "paper": 0},
        {"ink": 60, "paper": 200},
        {"side": 40},
        {"side": 1500},
        {"thickness": 0.04},
        {"thickness": 0.18},
        {"side": 480, "thickness": 0.002},
        {"side": 480, "thickness": 0.01},
        {"height": 0.25, "centre": (0.2, 0.75)},
        {"height": 0.9},
    ],
    ids=str,
)
def test_a_drawn_digit_looks_the_same_however_it_is_drawn(digit: int, style: dict[str, Any]) -> None:
    """What comes out is like what comes out of the plain drawing: the place, the size, the polarity are gone."""
    plain, other = (read_picture(encoded(drawn(digit, **options)), SHAPE, ()).astype(float) for options in ({}, style))
    assert likeness(plain, other) > (0.75 if "thickness" in style else 0.85)
    assert other.max() > 200
    assert np.median(other) == 0


@pytest.mark.parametrize("style", [{}, {"ink": 255, "paper": 0}, {"side": 60}, {"thickness": 0.06}, {"height": 0.4}])
def test_drawn_digits_are_recognised(client: Client, style: dict[str, Any]) -> None:
    answers = {
        digit: client.post("/predict", data=encoded(drawn(digit, **style)), content_type="image/png").json["labels"]
        for digit in STROKES
    }
    assert sum(answers[digit] == [digit] for digit in STROKES) >= len(STROKES) - 1, answers


SEVEN = drawn(7)
EXIF_ORIENTATION = 0x0112


def turned(degrees: int, orientation: int, kind: str = "JPEG") -> bytes:
    """A photograph that lies on its side, and says so."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return encoded(SEVEN.rotate(degrees, expand=True), kind, exif=exif)


def on_transparent(colour: int) -> Image.Image:
    ink = ImageOps.invert(SEVEN)
    picture = Image.new("LA", SEVEN.size, (colour, 0))
    picture.putalpha(ink)
    return picture


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.asarray(SEVEN, np.uint16) * 257)


OTHER_KINDS = {
    "grey PNG": lambda: encoded(SEVEN),
    "RGB PNG": lambda: encoded(SEVEN.convert("RGB")),
    "palette PNG": lambda: encoded(SEVEN.convert("P")),
    "one bit PNG": lambda: encoded(SEVEN.convert("1")),
    "16 bit PNG": lambda: encoded(sixteen_bits()),
    "black ink on nothing": lambda: encoded(on_transparent(0)),
    "white ink on nothing": lambda: encoded(on_transparent(255)),
    "RGBA PNG": lambda: encoded(SEVEN.convert("RGBA")),
    "grey JPEG": lambda: encoded(SEVEN, "JPEG"),
    "CMYK JPEG": lambda: encoded(SEVEN.convert("CMYK"), "JPEG"),
    "progressive JPEG": lambda: encoded(SEVEN.convert("RGB"), "JPEG", progressive=True),
    "turned left": lambda: turned(90, 6),
    "upside down": lambda: turned(180, 3),
    "turned right": lambda: turned(270, 8),
    "wide": lambda: encoded(ImageOps.expand(SEVEN, (300, 0, 0, 0), 255)),
    "photograph": lambda: encoded(photographed(drawn(7, side=600)), "JPEG"),
    "photograph with a second picture": lambda: encoded(SEVEN, "MPO", save_all=True, append_images=[drawn(1)]),
    "lossless WebP": lambda: encoded(SEVEN, "WEBP", lossless=True),
    "lossless WebP of ink on nothing": lambda: encoded(on_transparent(0).convert("RGBA"), "WEBP", lossless=True),
    "GIF of ink on nothing": lambda: encoded(on_transparent(0).convert("RGBA"), "GIF"),
    "TIFF of ink on nothing": lambda: encoded(on_transparent(255), "TIFF"),
    "AVIF of ink on nothing": lambda: encoded(on_transparent(0).convert("RGBA"), "AVIF"),
    "one bit BMP": lambda: encoded(SEVEN.convert("1"), "BMP"),
    "TIFF as a fax": lambda: encoded(SEVEN.convert("1"), "TIFF", compression="group4"),
    "TIFF in LZW": lambda: encoded(SEVEN.convert("RGB"), "TIFF", compression="tiff_lzw"),
    "16 bit TIFF": lambda: encoded(sixteen_bits(), "TIFF"),
}
PILLOW_WRITES = [kind for kind in KINDS if kind.name != "HEIC"]
KEEPS_EXIF = {"PNG", "JPEG", "WebP", "TIFF", "AVIF"}
ANIMATED = {"PNG", "WebP", "GIF", "TIFF", "AVIF"}


def is_the_seven(picture: bytes) -> bool:
    expected = read_picture(encoded(SEVEN), SHAPE, ()).astype(float)
    return likeness(expected, read_picture(picture, SHAPE, ()).astype(float)) > 0.95


@pytest.mark.parametrize("kind", PILLOW_WRITES, ids=lambda kind: kind.name)
def test_each_kind_of_picture_is_read_grey_and_in_colour(client: Client, kind: PictureKind) -> None:
    for mode in ("L", "RGB"):
        picture = encoded(SEVEN.convert(mode), kind.pillow)
        assert is_the_seven(picture)
        for content_type in kind.types:
            assert client.post("/predict", data=picture, content_type=content_type).json["labels"] == [7]
        text = f"data:{kind.types[0]};base64,{base64.b64encode(picture).decode()}"
        assert client.post("/predict", json={"image": text}).json["labels"] == [7]


@pytest.mark.parametrize("kind", PILLOW_WRITES, ids=lambda kind: kind.name)
def test_each_kind_of_picture_is_turned_as_it_says_and_read_at_its_first_frame(kind: PictureKind) -> None:
    if kind.name in KEEPS_EXIF:
        assert is_the_seven(turned(90, 6, kind.pillow))
    if kind.name in ANIMATED:
        assert is_the_seven(encoded(SEVEN, kind.pillow, save_all=True, append_images=[drawn(1), drawn(0)]))


@pytest.mark.parametrize("kind", PILLOW_WRITES, ids=lambda kind: kind.name)
def test_each_kind_of_picture_may_be_cut_off_anywhere(kind: PictureKind) -> None:
    picture = encoded(drawn(7, side=40), kind.pillow)
    for length in range(0, len(picture) - 1, max(1, len(picture) // 100)):
        with contextlib.suppress(BadInput):
            read_picture(picture[:length], SHAPE, ())


@pytest.mark.skipif(heic.INSTALLED, reason="pillow-heif is installed")
def test_a_heic_picture_is_answered_with_what_to_install(client: Client) -> None:
    picture = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    problem = is_problem(client.post("/predict", data=picture, content_type="image/heic"), 422)
    assert "pip install 'twolayernet-service[heic]'" in problem["detail"]


@pytest.mark.parametrize("kind", dict(claims()))
def test_a_few_bytes_that_claim_gigabytes_are_refused_before_they_are_decoded(kind: str) -> None:
    picture = dict(claims())[kind]
    with contextlib.suppress(BadInput):
        _, header, cost = header_and_cost(picture, ())
        cost.check(())
        assert header.pixels < 10**6  # what claimed more was left out


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_every_form_of_a_picture_gives_the_same_digit(kind: str) -> None:
    expected = read_picture(encoded(SEVEN), SHAPE, ()).astype(float)
    found = read_picture(OTHER_KINDS[kind](), SHAPE, ()).astype(float)
    assert likeness(expected, found) > 0.95


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def claimed_size(width: int, height: int) -> bytes:
    """A PNG of a few kB that unpacks to whatever its header says."""
    rows = zlib.compress(bytes((width + 1) * min(height, 10_000)), 1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    packed = zlib.compress(bytes(200 * 2**20), 9)
    plain = encoded(SEVEN)
    return plain[:33] + chunk(b"zTXt", b"Comment\0\0" + packed) + plain[33:]


BAD_PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "not a picture that can be read"),
    "text": (lambda: b"seven", "not a picture that can be read"),
    "a file of another kind": (lambda: encoded(SEVEN, "PPM"), "expected PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF"),
    "a BMP whose pixels are packed": (
        lambda: encoded(SEVEN, "BMP")[:30] + b"\1" + encoded(SEVEN, "BMP")[31:],
        "packed",
    ),
    "a TIFF that is packed as JPEG": (lambda: encoded(SEVEN, "TIFF", compression="jpeg"), "save it with LZW"),
    "a GIF without a frame": (lambda: encoded(SEVEN, "GIF")[:13] + b";", "its header can't be read"),
    "a truncated PNG": (lambda: encoded(SEVEN)[:-200], "damaged"),
    "a truncated JPEG": (lambda: encoded(photographed(SEVEN), "JPEG")[:-2000], "damaged"),
    "a PNG that ends in its header": (lambda: encoded(SEVEN)[:20], "the PNG file is damaged"),
    "100 megapixels": (lambda: claimed_size(10_000, 10_000), "more than 40,000,000 pixels"),
    "a claim of 4 gigapixels": (lambda: claimed_size(65_535, 65_535), "at most 20,000 are read on a side"),
    "white paper": (lambda: encoded(Image.new("L", (300, 300), 255)), "nothing stands out"),
    "grey paper": (lambda: encoded(photographed(Image.new("L", (300, 300), 255))), "nothing stands out"),
    "one pixel": (lambda: encoded(Image.new("L", (1, 1), 255)), "nothing stands out"),
    "all transparent": (lambda: encoded(Image.new("RGBA", (50, 50), (9, 9, 9, 0))), "nothing stands out"),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_picture_that_can_t_be_used_is_answered_with_why(client: Client, kind: str) -> None:
    make, message = BAD_PICTURES[kind]
    problem = is_problem(client.post("/predict", data=make(), content_type="image/png"), 422)
    assert message in problem["detail"]


def test_texts_in_a_picture_cost_nothing(client: Client) -> None:
    """200 MB of text, packed: it is not unpacked."""
    answer = client.post("/predict", data=text_bomb(), content_type="image/png")
    assert (
        answer.json["probabilities"]
        == client.post("/predict", data=encoded(SEVEN), content_type="image/png").json["probabilities"]
    )


def transparent_palette(side: int) -> bytes:
    return encoded(Image.new("P", (side, side), 0), "PNG", compress_level=1, transparency=bytes([0, 255]))


def on_its_side(side: int) -> bytes:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    return encoded(Image.new("RGBA", (side, side), 0), "PNG", compress_level=1, exif=exif)


LARGEST: dict[str, tuple[float, Callable[[int], bytes]]] = {
    "L": (1, lambda side: encoded(Image.new("L", (side, side), 0), "PNG", compress_level=1)),
    "palette with transparency": (3, transparent_palette),
    "16 bits": (1.5, lambda side: encoded(Image.new("I;16", (side, side), 0), "PNG", compress_level=1)),
    "RGBA, turned by EXIF": (3, on_its_side),
    "GIF": (1, lambda side: encoded(Image.new("L", (side, side), 0), "GIF")),
    "TIFF": (3.5, lambda side: encoded(Image.new("RGB", (side, side), 0), "TIFF", compression="tiff_adobe_deflate")),
    "WebP": (7, lambda side: encoded(Image.new("RGBA", (side, side), 0), "WEBP", lossless=True)),
    "AVIF": (5, lambda side: encoded(Image.new("RGBA", (side, side), 0), "AVIF")),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if "palette" in kind else [pytest.mark.long]) for kind in LARGEST]
)
def test_a_picture_takes_little_more_memory_than_its_pixels(kind: str) -> None:
    """The worst that is read: the largest picture, its pixels packed to almost nothing."""
    weight, make = LARGEST[kind]
    program = (
        "import re, sys; from service.decoders.picture import read_picture\n"
        "from service.decoders.digit_finder import opencv; opencv()\n"
        "from service.http.problems import Problem\n"
        "data = sys.stdin.buffer.read()\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "before = peak()\n"
        "try: read_picture(data, (28, 28), ())\n"
        "except Problem as problem: assert 'nothing stands out' in problem.detail, problem.detail\n"
        "print(peak() - before)"
    )
    data = make(int((MOST_PICTURE_PIXELS / weight) ** 0.5))
    result = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=True, timeout=60)
    grown = int(result.stdout) * 1024
    assert MOST_PICTURE_PIXELS / weight / 2 < grown < 120_000_000


def test_long_and_thin_pictures_are_looked_at_small() -> None:
    picture = decoded(encoded(Image.new("L", (1599, 16_000), 255), "PNG", compress_level=1), ())
    assert picture.brightness.size < 3_000_000
    assert (picture.across, picture.down) == pytest.approx((4, 4), rel=0.01)


@pytest.mark.parametrize("most", [255, 1023, 4095, 65535])
def test_sixteen_bits_are_scaled_by_what_they_hold(most: int) -> None:
    values = np.asarray(SEVEN, np.float64) / 255 * most
    found = read_picture(encoded(Image.fromarray(np.round(values).astype(np.uint16))), SHAPE, ())
    assert likeness(read_picture(encoded(SEVEN), SHAPE, ()).astype(float), found.astype(float)) > 0.95


def test_a_phone_s_jpeg_of_48_megapixels_is_read() -> None:
    large = encoded(SEVEN.resize((8064, 6048)), "JPEG")
    small = encoded(SEVEN.resize((806, 605)), "JPEG")
    assert likeness(read_picture(small, SHAPE, ()).astype(float), read_picture(large, SHAPE, ()).astype(float)) > 0.95


def test_what_was_found_in_pictures_is_explained(client: Client) -> None:
    wide, light = ImageOps.expand(SEVEN, (300, 0, 0, 100), 255), ImageOps.invert(SEVEN)
    upload = [part(encoded(wide)), part(encoded(light.resize((1600, 1600)), "JPEG")), part(turned(90, 6))]
    answer = client.post("/predict?explain=true", data={"image": upload})
    PredictAnswer.model_validate_json(answer.data, strict=True, extra="forbid")
    ys, xs = np.nonzero(np.asarray(light) > 128)
    left, top, right, bottom = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    expected = np.array([left, top, right - left, bottom - top])
    boxes = [np.array(picture["box"]) for picture in answer.json["pictures"]]
    close = 0.03 * SEVEN.width
    assert np.abs(boxes[0] - expected - [300, 0, 0, 0]).max() < close
    assert np.abs(boxes[1] * SEVEN.width / 1600 - expected).max() < close
    assert np.abs(boxes[2] - expected).max() < close
    assert [picture["polarity"] for picture in answer.json["pictures"]] == [
        "dark on light",
        "light on dark",
        "dark on light",
    ]
    pixels = read_picture(encoded(wide), SHAPE, ())
    with Image.open(io.BytesIO(base64.b64decode(answer.json["pictures"][0]["image"].split(",")[1]))) as image:
        assert (np.asarray(image).ravel() == pixels).all()


def test_an_explanation_changes_nothing_else(client: Client) -> None:
    explained = client.post("/predict?explain=true", data=encoded(SEVEN), content_type="image/png").json
    del explained["pictures"]
    for query in ("", "?explain=false"):
        assert client.post("/predict" + query, data=encoded(SEVEN), content_type="image/png").json == explained


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/predict?explain=true", "only for pictures, not for arrays"),
        ("/predict?explain=yes", "expected true or false"),
        ("/accuracy?explain=true", "unknown"),
    ],
)
def test_what_can_t_be_explained_is_refused_by_name(client: Client, path: str, message: str) -> None:
    problem = is_problem(client.post(path, json={"images": [[0] * 784]}), 422)
    assert problem["errors"][0]["loc"] == ["query", "explain"]
    assert message in problem["detail"]


def row_of(*digits: int, gap: int = 10) -> Image.Image:
    """On one sheet, with that many pixels from one digit to the next."""
    drawings = [np.asarray(ImageOps.invert(drawn(digit, side=100))) for digit in digits]
    cut = [ink[:, ink.any(axis=0)] for ink in drawings]
    parts = [part for ink in cut for part in (np.zeros((100, gap), np.uint8), ink)][1:]
    return ImageOps.invert(Image.fromarray(np.pad(np.hstack(parts), 30)))


@pytest.mark.parametrize("digits", [(2, 4), (7, 1, 0), (1, 1, 7, 4, 2, 0, 3, 7)], ids=str)
@pytest.mark.parametrize("gap", [4, 10, 60])
def test_several_digits_are_read_from_left_to_right(client: Client, digits: tuple[int, ...], gap: int) -> None:
    for picture in (row_of(*digits, gap=gap), ImageOps.invert(row_of(*digits, gap=gap))):
        answer = client.post("/predict?several=true", data=encoded(picture), content_type="image/png").json
        PredictAnswer.model_validate(answer, strict=False, extra="forbid")
        (read,) = answer["pictures"]
        assert read["text"] == "".join(map(str, digits))
        assert answer["labels"] == [*digits] == [digit["label"] for digit in read["digits"]]
        assert [max(row) for row in answer["probabilities"]] == [digit["probability"] for digit in read["digits"]]
        lefts = [digit["box"][0] for digit in read["digits"]]
        assert lefts == sorted(lefts)
        assert abs(lefts[0] - 30) < 3


def test_a_long_row_is_read_whole_or_refused(client: Client) -> None:
    """A picture that shows more digits than are looked at never gets an answer without some of them."""
    for count in (30, 60):
        answer = client.post(
            "/predict?several=true", data=encoded(row_of(*[7, 1] * (count // 2))), content_type="image/png"
        )
        assert len(answer.json["labels"]) == count
    row = row_of(*[1] * 110, gap=4)
    problem = is_problem(client.post("/predict?several=true", data=encoded(row), content_type="image/png"), 422)
    assert "crop the picture to fewer digits" in problem["detail"]


def test_several_digits_may_be_explained_and_remembered(client: Client) -> None:
    upload = {"image": [part(encoded(row_of(7, 1))), part(encoded(SEVEN))]}
    answer = client.post("/predict?several=true&explain=true&remember=true", data=upload).json
    assert [picture["text"] for picture in answer["pictures"]] == ["71", "7"]
    assert len(answer["prediction_ids"]) == len(answer["labels"]) == 3
    assert {digit["polarity"] for picture in answer["pictures"] for digit in picture["digits"]} == {"dark on light"}
    assert all(digit["image"].startswith("data:image/png") for digit in answer["pictures"][0]["digits"])


@pytest.mark.parametrize("digits", [(2, 4), (7, 1, 0), (1, 4, 7, 4, 2, 0, 3, 7)], ids=str)
def test_without_several_true_their_number_is_named(client: Client, digits: tuple[int, ...]) -> None:
    problem = is_problem(client.post("/predict", data=encoded(row_of(*digits)), content_type="image/png"), 422)
    assert problem["type"] == "urn:twolayernet:problem:several-digits"
    assert problem["detail"].startswith(f"{len(digits)} digits")


def test_a_page_of_several_lines_is_refused(client: Client) -> None:
    row = row_of(7, 2, 0, 3)
    page = Image.new("L", (row.width, 3 * row.height), 255)
    for line in range(3):
        page.paste(row, (0, line * row.height))
    problem = is_problem(client.post("/predict?several=true", data=encoded(page), content_type="image/png"), 422)
    assert "crop the picture to one line" in problem["detail"]


def test_a_told_polarity_is_the_only_one_that_is_looked_for(client: Client) -> None:
    for picture, polarity, other in ((SEVEN, "dark", "light"), (ImageOps.invert(SEVEN), "light", "dark")):
        for options in (
            {"data": encoded(picture), "content_type": "image/png"},
            {"json": {"image": base64.b64encode(encoded(picture)).decode()}},
        ):
            answer = client.post(f"/predict?polarity={polarity}", **options)
            assert answer.json == client.post("/predict", **options).json
            is_problem(client.post(f"/predict?polarity={other}", **options), 422)
        form = {"image": part(encoded(picture)), "polarity": polarity}
        assert client.post("/predict", data=form).json["labels"] == [7]


@pytest.mark.parametrize(
    ("query", "body", "location"),
    [
        ("polarity=grey", {"image": [0] * 784}, ["query", "polarity"]),
        ("polarity=dark", {"image": [0] * 784}, ["polarity"]),
        ("", {"image": [0] * 784, "polarity": "dark"}, ["polarity"]),
        ("several=true", {"image": [0] * 784}, ["query", "several"]),
        ("several=1", {"image": [0] * 784}, ["query", "several"]),
    ],
)
def test_arrays_have_no_polarity_and_no_several_digits(
    client: Client, query: str, body: dict[str, Any], location: list[str]
) -> None:
    problem = is_problem(client.post(f"/predict?{query}", json=body), 422)
    assert problem["errors"][0]["loc"] == location


@given(data=st.data())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_no_damage_to_a_picture_gets_a_500(client: Client, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([kind.pillow for kind in PILLOW_WRITES]))
    damaged = bytearray(encoded(drawn(7, side=50), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    answer = client.post("/predict", data=bytes(damaged), content_type="image/jpeg")
    assert answer.status_code in (200, 422), answer.data


def part(data: bytes, name: str = "seven.png") -> tuple[io.BytesIO, str]:
    return io.BytesIO(data), name


def test_an_upload_of_several_pictures_is_answered_in_their_order(client: Client) -> None:
    pictures = [encoded(drawn(digit)) for digit in (7, 1, 0)]
    answer = client.post("/predict", data={"image": [part(picture) for picture in pictures]})
    assert answer.status_code == 200, answer.data
    assert answer.json["labels"] == [
        client.post("/predict", data=picture, content_type="image/png").json["labels"][0] for picture in pictures
    ]


def test_an_upload_with_labels_teaches(client: Client) -> None:
    upload = {"image": [part(encoded(drawn(7))), part(encoded(drawn(1)))], "labels": "7,1"}
    assert (
        client.post("/accuracy", data={**upload, "image": [part(encoded(drawn(7)))], "labels": "7"}).json["count"] == 1
    )
    answer = client.post("/train-step?learning_rate=0.01", data=upload)
    assert answer.status_code == 200, answer.data
    assert (answer.json["count"], answer.json["model_version"], answer.json["learning_rate"]) == (2, 2, 0.01)


@pytest.mark.parametrize("labels", ["[7, 1]", "7.0 1", " [7.,1.0]\n", ["7", "1"]])
def test_labels_in_a_form_are_read_as_people_write_them(client: Client, labels: str | list[str]) -> None:
    upload = {"image": [part(encoded(drawn(7))), part(encoded(drawn(1)))]}
    answer = client.post("/accuracy", data={**upload, "labels": labels})
    assert np.array(answer.json["confusion_matrix"]).sum(axis=1).nonzero()[0].tolist() == [1, 7]
    for wrong in ("[7.5, 1]", "7, -1", "[[7], [1]]"):
        is_problem(client.post("/accuracy", data={"image": [part(encoded(drawn(7)))], "labels": wrong}), 422)


def test_a_repeated_upload_with_a_key_is_known_by_its_parts_whatever_the_boundary(client: Client) -> None:
    def teach(digit: int, boundary: str, label: int) -> Any:
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'.encode()
            + encoded(drawn(digit))
            + f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="labels"\r\n\r\n{label}\r\n--{boundary}--\r\n'.encode()
        )
        content_type = f"multipart/form-data; boundary={boundary}"
        return client.post("/train-step", data=body, content_type=content_type, headers={"Idempotency-Key": "k"})

    first = teach(7, "one", 7)
    assert first.status_code == 200, first.data
    assert teach(7, "two", 7).json == first.json
    is_problem(teach(7, "one", 1), 409)
    is_problem(teach(1, "one", 7), 409)


@pytest.mark.parametrize(
    ("upload", "location", "message"),
    [
        ({}, [], "no part"),
        ({"picture": ("x", "x.png")}, ["picture"], "no file of this name"),
        ({"image": "a text"}, ["image", 0], "expected base64, or a file"),
        ({"image": ("bad", "x.png")}, ["image", 0], "not a picture that can be read"),
        ({"image": ("7", "x.png")}, ["labels"], "missing"),
        ({"image": ("7", "x.png"), "labels": ""}, ["labels"], "0 labels for 1 images"),
        ({"image": ("7", "x.png"), "labels": "7,1"}, ["labels"], "2 labels for 1 images"),
        ({"image": ("7", "x.png"), "labels": "seven"}, ["labels", 0], "expected a class number"),
        ({"image": ("7", "x.png"), "labels": "10"}, ["labels", 0], "expected a class number, 0…9"),
    ],
)
def test_a_bad_upload_is_answered_with_where(
    client: Client, upload: dict[str, Any], location: list[Any], message: str
) -> None:
    data = {
        name: part(encoded(drawn(7)) if value[0] == "7" else value[0].encode(), value[1])
        if isinstance(value, tuple)
        else value
        for name, value in upload.items()
    }
    answer = client.post("/train-step", data=data, content_type="multipart/form-data")
    problem = is_problem(answer, 422)
    assert message in problem["detail"]
    assert not location or problem["errors"][0]["loc"] == location
    assert client.get("/versions").json["versions"][0]["model_version"] == 1


def test_a_network_whose_images_have_no_shape_takes_no_pictures(settings: Settings) -> None:
    random = np.random.default_rng(0)
    params = {"W1": random.random((7, 4)), "b1": np.zeros(4), "W2": random.random((4, 3)), "b2": np.zeros(3)}
    stream = io.BytesIO()
    np.savez(stream, **params)  # type: ignore[arg-type]
    settings.weights.write_bytes(stream.getvalue())
    client = Client(create_app(settings))
    problem = is_problem(client.post("/predict", data=encoded(SEVEN), content_type="image/png"), 422)
    assert "send them as JSON or .npy" in problem["detail"]
    assert (
        client.post("/predict", data=json.dumps({"image": [0] * 7}), content_type="application/json").status_code == 200
    )


def test_a_png_whose_header_hides_another_one_is_refused() -> None:
    """A header of 25 bytes, the last 12 of which are where another reader sees the next chunk begin."""
    hidden = encoded(Image.new("L", (9, 3000)))[8:]
    outer = struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0) + bytes(4) + struct.pack(">I", 4 + len(hidden)) + b"IDAT"
    body = struct.pack(">I", zlib.crc32(b"IHDR" + outer)) + hidden
    ends = struct.pack(">I", zlib.crc32(b"IDAT" + body)) + chunk(b"IEND", b"")
    picture = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 25) + b"IHDR" + outer + body + ends
    assert Image.open(io.BytesIO(picture)).size != SHAPE
    with pytest.raises(BadInput, match="the PNG file"):
        decoded(picture, ())


@pytest.mark.parametrize("length", [0, 1, 60_000])
def test_a_jpeg_with_a_segment_of_no_length_or_beyond_its_end_is_refused(length: int) -> None:
    picture = encoded(Image.new("L", SHAPE), "JPEG")
    at = picture.index(b"\xff\xdb")
    with pytest.raises(BadInput, match="the JPEG file"):
        decoded(picture[:at] + b"\xff\xe0" + length.to_bytes(2, "big") + picture[at:], ())


def test_a_picture_that_pillow_reads_as_another_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrower(*given: Any) -> tuple[PictureKind, Header]:
        kind, header = read_header(*given)
        return kind, replace(header, width=27)

    monkeypatch.setattr(picture_module, "read_header", narrower)
    with pytest.raises(BadInput, match="the PNG file can't be read"):
        decoded(encoded(Image.new("L", SHAPE)), ())
