"""Requests that are good, and what becomes of them: bytes, drawn from a seed, so that each can be sent again."""

import gzip
import io
import json
import random
import re
from dataclasses import dataclass, replace

import numpy as np

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from service.decoders import picture_kinds
from tests.conftest import CLASSES, FEATURES, as_json, random_batch
from tests.service.drawing import drawn, encoded

JSON, NPY, NPZ, PNG = "application/json", "application/x-npy", "application/x-npz", "image/png"
TYPES = [
    JSON,
    NPY,
    NPZ,
    *picture_kinds.TYPES,
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "text/plain",
    "",
]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def sent(self) -> bytes:
        lines = [b"%s %s HTTP/1.1" % (self.method.encode(), self.path.encode("latin-1", "replace")), b"Host: localhost"]
        if self.content_type:
            lines.append(b"Content-Type: " + self.content_type.encode())
        lines += [b"%s: %s" % pair for pair in self.headers]
        if self.body or self.method in ("POST", "PUT"):
            lines.append(b"Content-Length: %d" % len(self.body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def part(name: str, data: bytes, more: str = "") -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"


def good_requests() -> list[Request]:
    x, t = random_batch(2)
    network = TwoLayerNet(FEATURES, 50, CLASSES, "he", seed=1, dtype=np.float32)
    file = weights_file.to_bytes(Weights(network.params, image_shape=(28, 28)))
    picture = encoded(drawn(7))
    lesson = json.dumps(as_json(x, t)).encode()
    image = json.dumps({"image": (x[0] / 255).round(3).reshape(28, 28).tolist()}).encode()
    form = part("image", picture, '; filename="7.png"') + part("labels", b"7") + b"--x--\r\n"
    tensor = {"name": "images", "shape": [2, FEATURES], "datatype": "UINT8"}
    infer = json.dumps({"inputs": [{**tensor, "data": x.ravel().tolist()}]}).encode()
    sized = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": x.size}}]}).encode()
    multipart = "multipart/form-data; boundary=x"
    length = ((b"Inference-Header-Content-Length", b"%d" % len(sized)),)
    packed = ((b"Content-Encoding", b"gzip"),)
    return [
        Request("POST", "/predict", json.dumps(as_json(x)).encode(), JSON),
        Request("POST", "/predict?explain=true", image, JSON),
        Request("POST", "/predict", npy(x), NPY),
        Request("POST", "/predict?model_version=1", npy(x.reshape(2, 28, 28).astype(np.float32) / 255), NPY),
        Request("POST", "/predict?explain=true", picture, PNG),
        *(
            Request("POST", "/predict?several=true&polarity=dark", encoded(drawn(3), kind.pillow), kind.types[0])
            for kind in picture_kinds.KINDS
            if kind.name != "HEIC"
        ),
        Request("POST", "/predict?remember=true", form.replace(part("labels", b"7"), b""), multipart),
        Request("POST", "/predict", gzip.compress(json.dumps(as_json(x)).encode()), JSON, packed),
        Request("POST", "/accuracy", lesson, JSON),
        Request("POST", "/accuracy", npz(x=x, t=t), NPZ),
        Request("POST", "/train-step", lesson, JSON, ((b"Idempotency-Key", b"one"),)),
        Request("POST", "/train-step?learning_rate=0.01&rehearse=2", npz(x=x, t=t), NPZ),
        Request("POST", "/train-step", form, multipart),
        Request("POST", "/train-step", b'{"prediction_ids": ["a"], "labels": [1]}', JSON),
        Request("POST", "/rollback", b'{"model_version": 1}', JSON),
        Request("POST", "/unlearn", b'{"model_versions": [2, 3]}', JSON),
        Request("POST", "/unlearn", b'{"source": "tablet", "after": 2, "before": 9}', JSON),
        Request("POST", "/relabel", b'{"model_version": 2, "labels": [1]}', JSON),
        Request("PUT", "/weights?activation=relu", file, NPZ),
        Request("PUT", "/learning", b'{"state": "learning"}', JSON),
        Request("POST", "/v2/models/twolayernet/infer", infer, JSON),
        Request("POST", "/v2/models/twolayernet/infer", sized + x.tobytes(), "", length),
        Request("GET", "/versions?limit=5&before=9"),
        Request("GET", "/examples?after=0&limit=3&rehearsed=true"),
        Request("GET", "/labels?order=suspicious&limit=3"),
        Request("GET", "/examples/2/0/image"),
        Request("GET", "/predictions?order=uncertain&limit=2"),
        Request("GET", "/weights", headers=((b"If-None-Match", b'"x"'),)),
        Request("GET", "/v2/models/twolayernet/versions/1"),
        Request("GET", "/learning", headers=((b"X-Min-Model-Version", b"1"),)),
    ]


TOKENS = [
    b"[",
    b"]" * 50,
    b"[" * 2000,
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\x00",
    b"\xff\xfe",
    b"NaN",
    b"1e999",
    b"-1",
    b"9" * 400,
]
TOKENS += [
    b"null",
    b"true",
    b'"\\ud800"',
    b"\r\n",
    b"--x",
    b"--x--",
    b"PK\x03\x04",
    b"\x93NUMPY",
    b"IHDR",
    b"'descr': '|O'",
]
TOKENS += [b"data:image/png;base64,", b"\xff\xd8\xff", b"18446744073709551616", b"0" * 5000, b",", b":", b"255", b"0.5"]
HEADERS = [
    b"Content-Length",
    b"Transfer-Encoding",
    b"Content-Type",
    b"Content-Encoding",
    b"Host",
    b"Expect",
    b"Connection",
]
HEADERS += [
    b"Idempotency-Key",
    b"If-Match",
    b"Authorization",
    b"X-Min-Model-Version",
    b"Inference-Header-Content-Length",
]
HEADERS += [
    b"Origin",
    b"Sec-Fetch-Site",
    b"X-Request-ID",
    b"traceparent",
    b"Accept",
    b"Range",
    b"Upgrade",
    b"Cookie",
    b"Te",
]
VALUES = [
    b"",
    b"0",
    b"-1",
    b"1",
    b"99999999999999999999",
    b"1e3",
    b"+5",
    b"chunked",
    b"gzip, chunked",
    b"gzip",
    b"deflate",
]
VALUES += [
    b"identity",
    b"x" * 9000,
    b"\xff\xfe\xfa",
    b"100-continue",
    b"close",
    b"keep-alive",
    b"*",
    b'W/"x"',
    b"h2c",
    b"\t",
]
VALUES += [b"http://evil.example", b"bytes=0-", b"[::1", b"a b", b"application/json", b"multipart/form-data; boundary="]
LINES = [
    b"GARBAGE",
    b"GET",
    b"GET / HTTP/9.9",
    b"POST /predict",
    b"PRI * HTTP/2.0",
    b"get / http/1.1",
    b"GET  /  HTTP/1.1",
]
LINES += [
    b"OPTIONS * HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1",
    b"TRACE / HTTP/1.1",
    b"GET //%00%ff/../ HTTP/1.1",
    b"\x16\x03\x01",
]
LINES += [
    b"GET http://[ HTTP/1.1",
    b"POST /" + b"a" * 9000 + b" HTTP/1.1",
    b"GET /\xff\xfe HTTP/1.1",
    b"GET /?%zz=%f HTTP/1.1",
]


def damaged(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """A few changes: bytes, pieces that go, come twice, come from another body, numbers that become others, an end."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 5)):
        at = draw.randint(0, len(changed))
        size = min(draw.choice([1, 1, 2, 8, 100, 3000]), max(0, len(changed) - at))
        kind = draw.randrange(7)
        if kind == 0 and size:
            changed[at : at + size] = draw.randbytes(size)
        elif kind == 1:
            del changed[at : at + size]
        elif kind == 2:
            changed[at:at] = changed[at : at + size] * draw.choice([1, 2, 20])
        elif kind == 3:
            changed[at:at] = draw.choice(TOKENS)
        elif kind == 4:
            other = draw.choice(others)
            changed[at:at] = other[: draw.randint(0, len(other))][:5000]
        elif kind == 5:
            numbers = list(re.finditer(rb"\d+", changed[at : at + 500]))
            if numbers:
                start, end = draw.choice(numbers).span()
                changed[at + start : at + end] = draw.choice(TOKENS)
        else:
            del changed[at:]
    return bytes(changed)


class Malformed:
    """An endless supply; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._good = good_requests()
        self._bodies = [request.body for request in self._good if request.body]

    def next(self) -> bytes:
        """As it goes over the wire: a good frame around a bad body as often as a bad frame."""
        request = self._draw.choice(self._good)
        return self._bad_body(request).sent() if self._draw.random() < 0.5 else self._bad_frame(request)

    def _bad_body(self, request: Request) -> Request:
        draw = self._draw
        if request.body and draw.random() < 0.85:
            request = replace(request, body=damaged(request.body, draw, self._bodies))
        else:
            path, _, query = request.path.partition("?")
            query = damaged(query.encode() or b"limit=1", draw, [b"before=%d&" % 2**64]).decode("latin-1")
            request = replace(request, path=path + "?" + re.sub(r"[\s\x00-\x1f]", "+", query)[:3000])
        if draw.random() < 0.15:
            request = replace(request, content_type=draw.choice(TYPES))
        if draw.random() < 0.1:
            request = replace(request, path=draw.choice(self._good).path)
        return request

    def _bad_frame(self, request: Request) -> bytes:
        draw = self._draw
        head, _, body = request.sent().partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        for _ in range(draw.randint(1, 3)):
            kind, at = draw.randrange(6), draw.randint(1, len(lines))
            if kind == 0:
                lines[0] = draw.choice(LINES)
            elif kind == 1:
                lines.insert(at, draw.choice(HEADERS) + b": " + draw.choice(VALUES))
            elif kind == 2 and len(lines) > 1:
                del lines[min(at, len(lines) - 1)]
            elif kind == 3:
                lines.insert(at, damaged(draw.choice(lines), draw, [b": ", b" x"]))
            elif kind == 4:
                lines.insert(at, b" folded" if draw.random() < 0.5 else b"x" * draw.choice([10, 70_000]))
            else:
                lines, body = self._in_chunks(lines, body)
        sent = draw.choice([b"\r\n", b"\r\n", b"\r\n", b"\n"]).join(lines) + b"\r\n\r\n" + body
        return sent[: draw.randint(1, len(sent))] if draw.random() < 0.3 else sent

    def _in_chunks(self, lines: list[bytes], body: bytes) -> tuple[list[bytes], bytes]:
        draw = self._draw
        lines = [line for line in lines if not line.lower().startswith(b"content-length")] + [
            b"Transfer-Encoding: chunked"
        ]
        size = draw.choice(
            [b"%x" % len(body), b"zz", b"-1", b"", b"0x10", b"f" * 17, b"%x;a=b" % len(body), b"%x" % (len(body) + 5)]
        )
        return lines, size + b"\r\n" + body + draw.choice(
            [b"\r\n0\r\n\r\n", b"0\r\n\r\n", b"", b"\r\n0\r\nX: y\r\n\r\n", b"\r\n0"]
        )
