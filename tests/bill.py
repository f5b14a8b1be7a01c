"""What a request costs: CPU, memory, and the bytes of its answer.

`python -m tests.bill [--long] [--part K] [WORD …]` prints a table: of the rows whose names have one of the words.

Each request is sent to an app in a process of its own, forked from one that is warm, so that its peak of memory
(VmHWM) and its CPU are its own. ru_maxrss would not do: it is inherited.
"""

import argparse
import base64
import gzip
import io
import json
import os
import re
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from service.app import create_app
from service.decoders.digit_finder import opencv
from service.settings import Settings
from tests.conftest import FEATURES, untrained
from tests.service.drawing import drawn, encoded

MOST_SECONDS, MOST_BYTES, MOST_ANSWER_BYTES = 1.0, 150_000_000, 16_000
KILLED_SECONDS = 20
LIMIT = 2**24
"""Bytes of a body, unpacked: what a service takes by default."""

SIZES = (LIMIT // 10, LIMIT * 98 // 100)
LONG_PARTS = 4
LONG_SIZES = (LIMIT // 100, LIMIT // 10, LIMIT * 28 // 100, LIMIT * 98 // 100)
"""Of the requests of a case. The third has just fewer numbers than are read from JSON."""

JSON, NPY, NPZ, PNG, JPEG = "application/json", "application/x-npy", "application/x-npz", "image/png", "image/jpeg"
FORM = "multipart/form-data; boundary=x"
BLACK = b"[" + b",".join([b"0"] * FEATURES) + b"]"


@dataclass(frozen=True)
class Request:
    """unpacked: bytes, where the body is a packed one."""

    path: str
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    unpacked: int = 0

    @property
    def size(self) -> int:
        return 1000 + len(self.path) + (self.unpacked or len(self.body)) + sum(len(value) for _, value in self.headers)


@dataclass(frozen=True)
class Bill:
    """status: 0 where the process was killed for its time, or for its memory."""

    status: int
    seconds: float
    memory: int
    answer: int
    said: str = ""


Make = Callable[[int], Request]
"""A request of about so many bytes, unpacked."""


class Till:
    """An app that requests are sent to."""

    def __init__(self, folder: Path) -> None:
        untrained(folder)
        app = create_app(
            Settings(weights=folder / "weights.npz", store=f"sqlite:///{folder}/store.db", access_log="off")
        )
        self.client = app.test_client()
        opencv()
        self.client.post("/predict", data=encoded(drawn(7)), content_type=PNG)  # the first one imports what it needs
        self.client.post("/predict", json={"image": [0] * FEATURES})

    def bill(self, request: Request) -> Bill:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            try:
                os.write(write, json.dumps(vars(self._answered(request))).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            said = pipe.read()
        _, _, used = os.wait4(child, 0)
        if said:
            return Bill(**json.loads(said))
        return Bill(
            0, used.ru_utime + used.ru_stime, 0, 0, f"killed after {KILLED_SECONDS} s of CPU, or for its memory"
        )

    def _answered(self, request: Request) -> Bill:
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + KILLED_SECONDS, used + KILLED_SECONDS))
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, began = peak(), time.process_time()
        answer = self.client.open(
            request.path,
            method=request.method,
            data=request.body,
            content_type=request.content_type,
            headers=list(request.headers),
        )
        seconds = time.process_time() - began
        said = answer.data[:4000].decode(errors="replace")
        return Bill(answer.status_code, seconds, peak() - before, len(answer.data), said)


def peak() -> int:
    """Bytes of memory that this process had at once."""
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


# JSON


def repeated(piece: bytes, size: int, between: bytes = b",") -> bytes:
    return (piece + between) * (size // (len(piece) + len(between)) - 1) + piece


FILLERS: dict[str, Callable[[int], bytes]] = {
    "whole numbers": lambda n: b"[" + repeated(b"1", n) + b"]",
    "decimals": lambda n: b"[" + repeated(b"1.5", n) + b"]",
    "texts": lambda n: b"[" + repeated(b'"ab"', n) + b"]",
    "empty lists": lambda n: b"[" + repeated(b"[]", n) + b"]",
    "empty objects": lambda n: b"[" + repeated(b"{}", n) + b"]",
    "nulls": lambda n: b"[" + repeated(b"null", n) + b"]",
    "a list in a list": lambda n: b"[" * (n // 2) + b"]" * (n // 2),
    "an object in an object": lambda n: b'{"a":' * (n // 6) + b"1" + b"}" * (n // 6),
    "digits": lambda n: b"1" * n,
    "digits behind a point": lambda n: b"0." + b"1" * n,
    "a long text": lambda n: b'"' + b"a" * n + b'"',
    "escapes": lambda n: b'"' + b"\\u0001" * (n // 6) + b'"',
    "spaces": lambda n: b" " * n + b"1",
    "a data: URL without a comma": lambda n: b'"data:' + b"a" * n + b'"',
    "a data: URL of escapes": lambda n: b'"data:image/png;base64,' + b"%41" * (n // 3) + b'"',
    "base64 with spaces": lambda n: b'"' + b"A " * (n // 2) + b'"',
    "images, the last one wrong": lambda n: b"[" + repeated(BLACK, n) + b"," + BLACK[:-2] + b"2]]",
    "images, the last one short": lambda n: b"[" + repeated(BLACK, n) + b",[0]]",
    "unknown fields": lambda n: b"{" + b",".join(b'"%07d":1' % i for i in range(n // 12)) + b"}",
}
"""Values of a field: n bytes of each."""


@lru_cache(maxsize=4)  # a filler is used for all fields before the next one
def filled(filler: str, size: int) -> bytes:
    return FILLERS[filler](size)


TENSOR = b'"inputs":[{"name":"x","shape":[1,784],"datatype":"FP32","data":[]}]'
FIELDS: dict[str, tuple[str, str, dict[str, bytes]]] = {
    "predict": ("POST", "/predict", {"images": b"", "image": b"", "pixel_max": b'"image":' + BLACK, "other": b'"image":' + BLACK}),
    "accuracy": ("POST", "/accuracy", {"images": b'"labels":[1]', "labels": b'"image":' + BLACK}),
    "train-step": ("POST", "/train-step", {"learning_rate": b'"labels":[1],"image":' + BLACK, "prediction_ids": b'"labels":[1]', "labels": b'"prediction_ids":["a"]'}),
    "rollback": ("POST", "/rollback", {"model_version": b"", "other": b'"model_version":1'}),
    "unlearn": ("POST", "/unlearn", {"model_versions": b"", "source": b"", "after": b'"source":"tablet"'}),
    "relabel": ("POST", "/relabel", {"model_version": b'"labels":[1]', "labels": b'"model_version":2'}),
    "learning": ("PUT", "/learning", {"state": b"", "reason": b'"state":"paused"'}),
    "infer": ("POST", "/v2/models/twolayernet/infer", {"inputs": b"", "outputs": TENSOR, "parameters": TENSOR, "id": b'"inputs":[]', "data": b""}),
}  # fmt: skip
"""Endpoints that read JSON: the fields that are filled, and what stands beside each."""


def json_request(endpoint: str, field: str, filler: str, size: int) -> Request:
    method, path, fields = FIELDS[endpoint]
    value, beside = filled(filler, size), fields[field]
    if field == "data":
        body = TENSOR.replace(b"[]", value)
    elif filler == "unknown fields":
        body = (beside + b"," if beside else b"") + value[1:-1]
    else:
        body = b'"%s":%s' % (field.encode(), value) + (b"," + beside if beside else b"")
    packed = gzip.compress(b"{" + body + b"}", 1)
    return Request(path, packed, JSON, (("Content-Encoding", "gzip"),), method, len(body) + 2)


def long_name(size: int) -> Request:
    return Request("/predict", b'{"image":%s,"%s":1}' % (BLACK, b"a" * size))


# Arrays


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(size: int, dtype: str, value: float, packed: bool = True) -> Request:
    """size: of the arrays, unpacked, four times of which a body may unpack to."""
    count = max(1, 4 * size // (FEATURES * np.dtype(dtype).itemsize))
    stream = io.BytesIO()
    save = np.savez_compressed if packed else np.savez
    save(stream, x=np.full((count, FEATURES), value, dtype), t=np.zeros(count, np.uint8))
    return Request("/accuracy", stream.getvalue(), NPZ, unpacked=4 * size)


def array_of(size: int, dtype: str, value: float, query: str = "") -> Request:
    count = max(1, size // (FEATURES * np.dtype(dtype).itemsize))
    return Request("/predict" + query, npy(np.full((count, FEATURES), value, dtype)), NPY)


def long_header(size: int) -> Request:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * (size // 2) + b")}"
    return Request("/predict", b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text, NPY)


# Pictures


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *more: bytes, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    """Black; the rows filtered as it takes longest."""
    row = b"\4" + bytes((width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] + 7) // 8)
    packer = zlib.compressobj(9)
    many = max(1, 2**16 // len(row))  # rows at a time, for pictures of millions of them
    rows = b"".join(packer.compress(row * min(many, height - at)) for at in range(0, height, many)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    palette = [chunk(b"PLTE", bytes(768)), chunk(b"tRNS", bytes(256))] if colour == 3 else []
    parts = [chunk(b"IHDR", header), *palette, *more, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def picture(data: bytes, kind: str = PNG) -> Request:
    return Request("/predict", data, kind)


def packed_picture(pixels: int, tall: bool) -> Request:
    """One pixel wide or high, two bytes a pixel, and packed once more."""
    data = png_of(1, pixels // 2) if tall else png_of(pixels // 2, 1)
    return Request("/predict", gzip.compress(data), PNG, (("Content-Encoding", "gzip"),), unpacked=pixels)


def scans(size: int) -> Request:
    """A JPEG of as many scans as fit, each of which goes through all blocks and changes none."""
    side = 4000
    frame = b"\xff\xc2\x00\x0b\x08" + struct.pack(">HH", side, side) + b"\x01\x01\x11\x00"
    blocks = ((side + 7) // 8) ** 2
    head = b"\xff\xd8\xff\xdb\x00\x43\x00" + b"\x01" * 64 + frame + code_of_one(0x00, 0) + code_of_one(0x10, 0xE0)
    first = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00" + bytes(blocks // 8 + 1)
    run = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00" + (b"\x00" * (2 * (blocks // 2**14 + 1)))
    return picture(head + first + run * max(1, (size - len(first)) // len(run) // 20) + b"\xff\xd9", JPEG)


def code_of_one(kind: int, symbol: int) -> bytes:
    """A JPEG's table of a code with a single symbol."""
    return b"\xff\xc4\x00\x14" + bytes([kind, 1]) + bytes(15) + bytes([symbol])


def in_jpeg(piece: bytes, size: int) -> Request:
    """Before a JPEG's pixels: the piece, as often as there is room."""
    data = encoded(drawn(7), "JPEG")
    return picture(data[:2] + piece * (size // len(piece)) + data[2:], JPEG)


def in_png(piece: bytes, size: int) -> Request:
    return picture(png_of(160, 160, piece * max(1, size // len(piece))))


MANY_ENTRIES = b"MM\0*\0\0\0\x08\xff\xff"
"""EXIF that claims 65,535 entries, and ends."""


def exif_in_webp(size: int) -> Request:
    webp = encoded(Image.new("L", (64, 64), 255), "WEBP", lossless=True)
    one = b"EXIF" + len(MANY_ENTRIES).to_bytes(4, "little") + MANY_ENTRIES
    body = webp[12:] + one * (size // len(one))
    return picture(b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body, "image/webp")


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def shared_av1(count: int) -> Request:
    """So many items, each with the same thousand headers of AV1."""
    units = (bytes([1 << 3 | 2, 11]) + bytes(11)) * 999
    kinds = b"".join(box(b"infe", b"\2\0\0\0" + struct.pack(">HH", i + 1, 0) + b"av01\0") for i in range(count))

    def head(at: int) -> bytes:
        places = b"".join(struct.pack(">HHHII", i + 1, 0, 1, at, len(units)) for i in range(count))
        lists = box(b"iinf", bytes(4) + struct.pack(">H", count) + kinds)
        lists += box(b"iloc", bytes(4) + b"\x44\0" + struct.pack(">H", count) + places)
        return box(b"ftyp", b"avif\0\0\0\0mif1avif") + box(b"meta", bytes(4) + lists)

    return picture(head(len(head(0)) + 8) + box(b"mdat", units), "image/avif")


def shared_strips(size: int) -> Request:
    """A TIFF whose 10,000 strips are all the whole file, with their bits in reverse order."""
    count, blob = 10_000, bytes(size)
    lists = struct.pack(f"<{2 * count}I", *[8] * count, *[size] * count)
    tags = [(256, 4, 1, 1000), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 32773), (262, 3, 1, 1), (266, 3, 1, 2)]
    tags += [(273, 4, count, 8 + size), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, count, 8 + size + 4 * count)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    data = b"II*\0" + struct.pack("<I", 8 + size + len(lists)) + blob + lists + directory
    return picture(data, "image/tiff")


def packed_name(size: int) -> Request:
    packed = gzip.compress(b'{"image":[0]}')
    body = b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * size + b"\0" + packed[10:]
    return Request("/predict", body, headers=(("Content-Encoding", "gzip"),))


def exif(size: int) -> bytes:
    """A directory whose entries all have the whole of it as their value."""
    entries = min(5000, max(1, size // 100))
    directory = b"".join(struct.pack("<HHII", 1000 + i, 7, size, 8) for i in range(entries))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + directory).ljust(size, b"\0")


def claims() -> Iterator[tuple[str, bytes]]:
    """Files of a few bytes whose headers say that they are as large as their kind can say."""
    yield "WebP", b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + (16382 | 16382 << 14).to_bytes(4, "little") + bytes(5)
    yield "WebP's canvas", riff(chunk_of(b"VP8X", bytes(4) + b"\xff" * 6), encoded(drawn(7), "WEBP")[12:])
    yield "GIF", b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\0;"
    yield "GIF's frame", b"GIF89a\1\0\1\0\0\0\0,\xff\x40\xff\x40\xff\x10\xff\x10\0\2\0;"
    bmp = encoded(drawn(7), "BMP")
    yield "BMP", bmp[:18] + struct.pack("<ii", 19_000, 19_000) + bmp[26:]
    yield "TIFF", tiff({256: 19_999, 257: 19_999, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 19_999, 279: 9})
    yield "TIFF's tile", tiff({256: 9, 257: 9, 258: 8, 259: 5, 262: 1, 322: 65_520, 323: 65_520, 324: 8, 325: 9})
    avif = encoded(drawn(7), "AVIF")
    yield "AVIF", avif.replace(struct.pack(">II", 200, 200), struct.pack(">II", 16_000, 16_000))
    yield "AVIF's frame", larger_av1(avif)


BLANKS = (
    ("GIF", "L", 39),
    ("GIF", "RGBA", 13),
    ("BMP", "RGB", 5),
    ("BMP", "1", 39),
    ("WEBP", "RGB", 5.7),
    ("WEBP", "RGBA", 5.7),
    ("AVIF", "RGB", 7.9),
    ("AVIF", "RGBA", 7.9),
)
"""Kind, mode and megapixels."""


def riff(*parts: bytes) -> bytes:
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def chunk_of(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data


def tiff(tags: dict[int, int], *, count: int = 1, data: bytes = b"") -> bytes:
    """count: of the strips, whose offsets stand where the first one says."""
    entries = [(tag, 4, count if tag in (273, 279) else 1, value) for tag, value in sorted(tags.items())]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + struct.pack("<I", 8 + len(data))


def larger_av1(avif: bytes) -> bytes:
    """Its sequence header of a still picture of 200 × 200, where both sizes take 8 bits, says 256 × 256 in 16."""
    at = avif.rindex(b"\x0a", 0, avif.index(b"mdat") + 20)
    bits = bin(int.from_bytes(b"\1" + avif[at + 2 : at + 2 + avif[at + 1]], "big"))[3:]
    changed = bits[:10] + "1111" * 2 + "0" + "1" * 15 + "0" + "1" * 15 + bits[34:]
    packed = int("1" + changed[: 8 * avif[at + 1]], 2).to_bytes(avif[at + 1] + 1, "big")[1:]
    return avif[: at + 2] + packed + avif[at + 2 + avif[at + 1] :]


def blank(kind: str, mode: str, megapixels: float, size: int, **options: object) -> Request:
    """The largest that is read, all of one colour and so packed to almost nothing."""
    side = int((megapixels * 1e6 * size / LIMIT) ** 0.5)
    data = encoded(Image.new(mode, (side, side)), kind, **options)
    return Request("/predict", data, PNG, unpacked=side * side)


def extensions(size: int) -> Request:
    gif = encoded(drawn(7), "GIF")
    at = gif.index(b",\0\0\0\0")
    return picture(gif[:at] + b"!\xfe\1a\0" * (size // 5) + gif[at:])


def frames(size: int) -> Request:
    gif = encoded(drawn(7), "GIF")
    at = gif.index(b",\0\0\0\0")
    return picture(gif[:at] + gif[at:-1] * (size // len(gif[at:])) + b";")


def strips(size: int) -> Request:
    """Each of a row, and all of them the same bytes."""
    count = min(size // 8, 9_000)
    data = struct.pack("<I", 8) * count
    tags = {256: 2000, 257: count, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 8}
    return picture(tiff(tags, count=count, data=data))


def shared_tags(size: int) -> Request:
    """Tags whose value is the whole file, and a directory that is its own next one."""
    body = exif(size)
    return picture(body + body[8:10])


def directories(size: int) -> Request:
    """Each of one tag, and each the next one of the one before."""
    return picture(
        b"II*\0\x08\0\0\0"
        + b"".join(struct.pack("<HHHIII", 1, 256, 4, 1, 9, 8 + 18 * (i + 1)) for i in range(size // 18))
    )


def noise(kind: str, size: int, **options: object) -> Request:
    """Of as many bytes as may be, or as many pixels."""
    side = int(min(size**0.5 * 0.9, (5.7e6 * size / LIMIT) ** 0.5 if kind in ("WEBP", "AVIF") else 1e5))
    field = np.random.default_rng(1).integers(0, 256, (side, side), np.uint8)
    return picture(encoded(Image.fromarray(field), kind, **options))


def part(name: str, data: bytes, more: str = "") -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"


def form(*parts: bytes, path: str = "/train-step") -> Request:
    return Request(path, b"".join(parts) + b"--x--\r\n", FORM)


SMALL = png_of(160, 160)
FILE = part("image", SMALL, '; filename="a.png"')


def noisy(seed: int, side: int = 160) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
    return encoded(Image.fromarray(noise))


def pictures(size: int, data: bytes) -> Request:
    one = part("image", data, '; filename="a.png"')
    return form(one * max(1, size // len(one)), path="/predict")


def digits_and_a_blank(size: int) -> Request:
    digit = part("image", encoded(drawn(7)), '; filename="a.png"')
    return form(digit * min(19, size // len(digit)), FILE, path="/predict")


def pictures_in_json(size: int) -> Request:
    text = b'"' + base64.b64encode(SMALL) + b'"'
    return Request("/predict", b'{"images":[%s]}' % repeated(text, size))


def header(name: str, piece: str, size: int, path: str = "/predict", method: str = "POST") -> Request:
    value = (piece * 8000)[: min(8000, size)]
    kind = value if name == "Content-Type" else JSON
    others = () if name == "Content-Type" else ((name, value),)
    return Request(path, b"{}" if method == "POST" else b"", kind, others, method)


def query(piece: str, size: int) -> Request:
    return Request("/predict?" + (piece * 4000)[: min(4000, size)], b"{}")


def cases(long: bool) -> Iterator[tuple[str, Make]]:  # noqa: PLR0912, PLR0915  a list
    """By name, what grows. Not long: what has cost most."""
    yield (
        "a data: URL without a comma",
        lambda n: json_request("predict", "image", "a data: URL without a comma", n // 100),
    )
    yield "wrong outputs", lambda n: json_request("infer", "outputs", "whole numbers", n)
    yield "wrong inputs", lambda n: json_request("infer", "inputs", "whole numbers", n)
    yield "unknown fields", lambda n: json_request("predict", "other", "unknown fields", n)
    yield "wrong prediction_ids", lambda n: json_request("train-step", "prediction_ids", "whole numbers", n)
    yield "a long name", long_name
    yield "a data: URL of escapes", lambda n: json_request("predict", "image", "a data: URL of escapes", n)
    yield "a tall PNG, packed", lambda n: packed_picture(n, True)
    yield "a wide PNG, packed", lambda n: packed_picture(n, False)
    for kind, data in claims():
        yield f"a {kind} that claims to be huge", lambda n, d=data: picture(d)  # type: ignore[misc]
    yield "a GIF's extensions", extensions
    yield "a GIF's frames", frames
    yield "a TIFF's tags that share their data", shared_tags
    yield "a TIFF's directories", directories
    yield "a TIFF's strips", strips
    yield "scans of a JPEG", scans
    yield "pictures in a form", lambda n: pictures(n // 20, SMALL)
    yield "digits, the last picture blank", digits_and_a_blank
    yield "pictures in JSON", lambda n: pictures_in_json(n // 20)
    yield (
        "digits in a form",
        lambda n: form(FILE, part("labels", b"7"), part("learning_rate", b"1" * min(n, 400_000) + b"x")),
    )
    yield "padding before a JPEG's pixels", lambda n: in_jpeg(b"\xff", n)
    yield "chunks of a PNG", lambda n: in_png(chunk(b"teSt", b""), n)
    yield "EXIF in each chunk of a PNG", lambda n: in_png(chunk(b"eXIf", MANY_ENTRIES), min(n, 400_000))
    yield "EXIF in each chunk of a WebP", lambda n: exif_in_webp(min(n, 170_000))
    yield "pictures of an AVIF that share their bytes", lambda n: shared_av1(min(n // 50, 990))
    yield "a gzip body's file name", packed_name
    yield "strips of a TIFF that share their bytes", shared_strips
    yield "EXIF whose entries share their data", lambda n: picture(png_of(160, 160, chunk(b"eXIf", exif(n // 4))))
    yield (
        "images in JSON, the last one wrong",
        lambda n: json_request("predict", "images", "images, the last one wrong", n),
    )
    yield "decimals out of range in an .npy", lambda n: array_of(n, "f8", 2.5)
    if not long:
        return
    for filler in FILLERS:
        for endpoint, (_, _, fields) in FIELDS.items():
            for field in fields:
                yield f"{endpoint}: {field}: {filler}", partial(json_request, endpoint, field, filler)
    for dtype in ("f2", "f4", "f8", "i1", "i8", "u1"):
        for value in (0.0, 1.0, 2.5, 100.0):
            yield f".npz of {dtype}, {value}", lambda n, d=dtype, v=value: npz(n, d, v)  # type: ignore[misc]
            yield f".npy of {dtype}, {value}", lambda n, d=dtype, v=value: array_of(n, d, v)  # type: ignore[misc]
        yield f".npy of {dtype}, pixel_max", lambda n, d=dtype: array_of(n, d, 1, "?pixel_max=1")  # type: ignore[misc]
    yield "an .npy's header", long_header
    for colour, name in ((0, "grey"), (2, "RGB"), (3, "palette"), (4, "grey and alpha"), (6, "RGBA")):
        for depth in (8, 16) if colour != 3 else (8,):
            for interlace in (0, 1):
                for most in (8, 13, 18, 25, 39):  # megapixels
                    yield (
                        f"a PNG, {name}, {depth} bits, interlace {interlace}, {most} MP",
                        lambda n, c=colour, d=depth, i=interlace, m=most: picture(  # type: ignore[misc]
                            png_of(*(int((m * 1e6 * n / LIMIT) ** 0.5),) * 2, depth=d, colour=c, interlace=i)
                        ),
                    )
    yield "a PNG's IDAT in pieces", lambda n: in_png(chunk(b"IDAT", b""), n)
    yield "texts in a PNG", lambda n: in_png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20))), n // 4)
    yield "a JPEG's comments", lambda n: in_jpeg(b"\xff\xfe\x00\x02", n)
    yield "a JPEG's tables", lambda n: in_jpeg(b"\xff\xdb\x00\x43\x00" + b"\x01" * 64, n)
    yield "a JPEG's profiles", lambda n: in_jpeg(b"\xff\xe2\x00\x10ICC_PROFILE\0\1\1", n)
    for kind in ("JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        options = {"quality": 95, "speed": 10} if kind in ("JPEG", "WEBP", "AVIF") else {}
        yield f"a noisy {kind}", lambda n, k=kind, o=options: noise(k, n, **o)  # type: ignore[misc]
    yield "a noisy lossless WebP", lambda n: noise("WEBP", n, lossless=True, quality=0, method=0)
    yield "a noisy TIFF in LZW", lambda n: noise("TIFF", n, compression="tiff_lzw")
    for kind, mode, megapixels in BLANKS:
        yield f"a blank {kind}, {mode}", lambda n, k=kind, m=mode, p=megapixels: blank(k, m, p, n)  # type: ignore[misc]
    for packing in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        for mode, most in (("L", 11), ("RGB", 11), ("I;16", 11), ("RGBA", 11)):
            yield (
                f"a blank TIFF, {mode}, {packing}",
                lambda n, m=mode, p=most, c=packing: blank("TIFF", m, p, n, compression=c),  # type: ignore[misc]
            )
    yield "a blank TIFF, fax", lambda n: blank("TIFF", "1", 11, n, compression="group4")
    yield "a lossless WebP", lambda n: blank("WEBP", "RGBA", 5.7, n, lossless=True)
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            yield (
                f"a JPEG, {mode}, {'progressive' if progressive else 'baseline'}",
                lambda n, m=mode, p=progressive: picture(  # type: ignore[misc]
                    encoded(Image.new(m, (int((48e6 * n / LIMIT) ** 0.5),) * 2), "JPEG", progressive=p, subsampling=0),
                    JPEG,
                ),
            )
    yield "noisy pictures", lambda n: pictures(n, noisy(1))
    yield "large noisy pictures", lambda n: pictures(n, noisy(1, 600))
    yield "pictures of a digit", lambda n: pictures(n // 100, encoded(drawn(7)))
    yield "parts", lambda n: form(part("a", b"1") * (n // 60))
    yield "a part's name", lambda n: form(part("a" * n, b"1"))
    yield "labels in a form", lambda n: form(FILE, part("labels", b"1," * (min(n, 400_000) // 2)))
    yield "brackets in a form", lambda n: form(FILE, part("labels", b"[" + b"] " * (min(n, 400_000) // 2)))
    yield "line ends in a form", lambda n: Request("/predict", b"\r" * n, FORM)
    yield "boundaries in a form", lambda n: Request("/predict", b"\r\n--x" * (n // 5), FORM)
    for piece in ("a", '"', "\\", ", ", "; a=", "\t", "1", '"\\', "W/", 'W/"a', 'a="', "*"):
        for name in ("Content-Type", "Idempotency-Key", "If-Match", "X-Min-Model-Version", "Content-Encoding", "Host",
                     "Origin", "Accept", "Cookie", "Authorization", "traceparent", "Inference-Header-Content-Length"):  # fmt: skip
            yield f"{name}: {piece!r} …", lambda n, h=name, p=piece: header(h, p, n)  # type: ignore[misc]
        yield f"If-None-Match: {piece!r} …", lambda n, p=piece: header("If-None-Match", p, n, "/weights", "GET")  # type: ignore[misc]
    for piece in ("a", "&a", "a=1&", "learning_rate=1", "1", "%00", "%", "pixel_max=1&"):
        yield f"a query of {piece!r} …", lambda n, p=piece: query(p, n)  # type: ignore[misc]


def excess(bill: Bill) -> list[str]:
    """The limits that a bill exceeds."""
    wrong = [f"got {bill.status}"] if bill.status in (0, 500) else []
    if bill.status >= 400:  # else it was computed
        wrong += [f"{bill.seconds:.2f} s of CPU"] if bill.seconds > MOST_SECONDS else []
        wrong += [f"{bill.memory / 1e6:.0f} MB"] if bill.memory > MOST_BYTES else []
        wrong += [f"an answer of {bill.answer:,} bytes"] if bill.answer > MOST_ANSWER_BYTES else []
    return wrong


def growth(small: Bill, large: Bill, times: float) -> list[str]:
    """What grows faster than the bytes of the request. times: how many times the bytes."""
    wrong = []
    if large.seconds > 0.2 and large.seconds > 3 * times * (small.seconds + 0.01):
        wrong.append(f"CPU from {small.seconds:.3f} to {large.seconds:.3f} s, for {times:.0f} times the bytes")
    if large.memory > 3 * times * (small.memory + 5_000_000):
        wrong.append(
            f"memory from {small.memory / 1e6:.0f} to {large.memory / 1e6:.0f} MB, for {times:.0f} times the bytes"
        )
    return wrong


def billed(till: Till, make: Make, sizes: tuple[int, ...]) -> list[tuple[Request, Bill]]:
    """A request of each size, but none twice: the length of a header and of a query has a limit."""
    rows: list[tuple[Request, Bill]] = []
    for request in map(make, sizes):
        if not rows or request != rows[-1][0]:
            rows.append((request, till.bill(request)))
    return rows


def bills(
    till: Till, long: bool, words: list[str], part: int | None = None
) -> Iterator[tuple[str, Request, Bill, list[str]]]:
    """Each case: the costliest of its requests, and what is wrong with them. part: of `LONG_PARTS`; None: all."""
    for name, make in islice(cases(long), part, None, None if part is None else LONG_PARTS):
        if words and not any(word in name for word in words):
            continue
        rows = billed(till, make, LONG_SIZES if long else SIZES)
        wrong = [what for _, bill in rows for what in excess(bill)]
        for (less, small), (more, large) in pairwise(rows):
            wrong += growth(small, large, more.size / less.size)
        request, bill = max(rows, key=lambda each: (each[1].status == 0, each[1].seconds))
        most = max(bill.memory for _, bill in rows), max(bill.answer for _, bill in rows)
        yield name, request, Bill(bill.status, bill.seconds, *most, bill.said), wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bill")
    parser.add_argument("--long", action="store_true", help="all cases, in four sizes")
    parser.add_argument("--part", type=int, choices=range(LONG_PARTS), help="every fourth case, from this one on")
    parser.add_argument("words", nargs="*", metavar="WORD", help="only cases whose names have one of these")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        till = Till(Path(folder))
        for name, request, bill, wrong in bills(till, options.long, options.words, options.part):
            line = f"{bill.seconds:6.2f} s {bill.memory / 1e6:6.0f} MB {bill.answer:11,} bytes  {bill.status:3} {len(request.body):10,} sent  {name}"
            said = re.sub(r'^.*"detail":"(.{0,70}).*$', r"\1", bill.said, flags=re.DOTALL)[:70]
            print(line, *(f"  WRONG: {what}" for what in wrong[:2]), "" if wrong else f"  [{said}]", flush=True)
            rows.append((bill.seconds, bill.status, line, wrong))
    print("the ten costliest that were refused:")
    for _, _, line, _ in sorted((row for row in rows if row[1] >= 400 or row[1] == 0), reverse=True)[:10]:
        print(line)
    return 1 if any(wrong for *_, wrong in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
