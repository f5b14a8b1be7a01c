"""What the command line asks of a running service."""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np

from model import weights as weights_file
from model.datasets import DatasetError, Split
from model.datasets.arrays import labelled
from model.datasets.files import whole
from model.datasets.splitting import digests
from model.npy import NpyError, read_npz
from model.weights import Weights
from service.errors import ServiceError
from service.settings import PREFIX, key_in, listed

SECONDS = 60
MOST_EXAMPLES_BYTES = 1 << 31
MOST_PROBLEM_BYTES = 1 << 16


def fetch_examples(url: str, warn: Callable[[str], None]) -> Split:
    """All the labelled images that a service has learnt from and still has; warn: told if that is not all.

    Raises ServiceError, DatasetError.
    """
    pages, pixels = [], 0
    for page in example_pages(url, warn):
        pages.append(page)
        pixels += page.images.size
        if pixels > MOST_EXAMPLES_BYTES:
            raise DatasetError(f"{url} has more than {MOST_EXAMPLES_BYTES} pixels of examples, the most that is read")
    if not pages:
        raise DatasetError(f"{examples_address(url)} has no examples yet")
    return Split(np.concatenate([page.images for page in pages]), np.concatenate([page.labels for page in pages]))


class ServedElseError(ServiceError):
    """What is served is not what was to be replaced."""


def fetch_learnt(url: str, newest: int, warn: Callable[[str], None]) -> tuple[set[bytes], Split | None]:
    """Digests of all images that a service has learnt from and still has, and the newest of them, if any.

    newest: how many of those are wanted. Raises as `fetch_examples` does, but for none.
    """
    seen: set[bytes] = set()
    last: Split | None = None
    for page in example_pages(url, warn):
        seen |= set(digests(page.images))
        if newest:
            together = page if last is None else last + page
            last = together.take(np.arange(len(together))[-newest:])
    return seen, last


def examples_address(url: str) -> str:
    return url if url.rstrip("/").endswith("/examples") else f"{url.rstrip('/')}/examples"


def example_pages(url: str, warn: Callable[[str], None]) -> Iterator[Split]:
    address, after = examples_address(url), 0
    while True:
        headers, content = ask("GET", f"{address}?after={after}")
        oldest = int(headers.get("X-Oldest-Model-Version", 1))
        if oldest > after + 1:
            warn(
                f"the log of {url} begins at version {oldest}: what was learnt from version {after + 1} on is not there"
            )
        arrays = example_arrays(content, address)
        if not len(arrays["t"]):
            return
        yield split_of(arrays, address)
        after = int(arrays["model_version"][-1])


def read_examples(path: str) -> Split:
    """A file that /examples gave. Raises DatasetError; ServiceError for an address without http://."""
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", path) and not Path(path).exists():
        raise ServiceError(without_scheme(path))
    return split_of(example_arrays(whole(Path(path), MOST_EXAMPLES_BYTES), path), path)


def example_arrays(data: bytes, source: str) -> dict[str, Any]:
    try:
        arrays = read_npz(data, MOST_EXAMPLES_BYTES)
    except NpyError as error:
        raise DatasetError(f"{source}: {error}") from error
    missing = [name for name in ("x", "t", "model_version") if name not in arrays]
    if missing:
        raise DatasetError(f"{source}: the array {missing[0]} is missing: x, t and model_version are needed")
    return arrays


def split_of(arrays: dict[str, Any], source: str) -> Split:
    split, _, names = labelled(arrays, "x", "t", source)
    if names is not None:
        raise DatasetError(f"{source}: t holds names: class numbers are needed")
    return split


@dataclass(frozen=True)
class Served:
    """What a service serves: the version, its weights, and the name of just these bytes."""

    version: int
    weights: Weights
    etag: str


def fetch_weights(url: str) -> Served:
    """Raises ServiceError, WeightsError."""
    headers, content = ask("GET", f"{url.rstrip('/')}/weights")
    return Served(int(headers["X-Model-Version"]), weights_file.from_bytes(content), headers["ETag"])


def put_weights(url: str, weights: Weights, instead_of: Served) -> int:
    """The version that the weights became. Raises ServiceError: ServedElseError where something else is served by
    now."""
    headers = {"If-Match": instead_of.etag, "Content-Type": "application/octet-stream"}
    _, content = ask("PUT", f"{url.rstrip('/')}/weights", weights_file.to_bytes(weights), headers)
    return int(json.loads(content)["model_version"])


class Unfollowed(HTTPRedirectHandler):
    """Redirects are answers: to follow one could hand the key to another host."""

    def redirect_request(self, *_: object) -> None:
        return None


def ask(
    method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[Message, bytes]:
    """The headers and the body of the answer. Raises ServiceError for any status but 200."""
    if not url.startswith(("http://", "https://")):
        raise ServiceError(without_scheme(url))
    request, shown = Request(url, body, headers or {}, method=method), url.partition("?")[0]
    if key := key_of_the_environment():
        request.add_header("Authorization", f"Bearer {key}".encode().decode("latin-1"))  # as http.client writes it
    try:
        with build_opener(Unfollowed).open(request, timeout=SECONDS) as response:
            content = response.read(MOST_EXAMPLES_BYTES + 1)
    except HTTPError as refusal:
        with refusal:
            kind = ServedElseError if refusal.code == HTTPStatus.PRECONDITION_FAILED else ServiceError
            raise kind(f"{shown} answered {refusal.code}: {reason(refusal)}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise ServiceError(f"{shown} does not answer: {cause(error)}") from error
    if len(content) > MOST_EXAMPLES_BYTES:
        raise ServiceError(f"{shown} answered with more than {MOST_EXAMPLES_BYTES} bytes")
    return response.headers, content


def key_of_the_environment() -> str:
    """The first of them, "" where there is none: the service takes each. Raises ServiceError."""
    text, file = os.environ.get(f"{PREFIX}API_KEY", ""), os.environ.get(f"{PREFIX}API_KEY_FILE", "")
    try:
        return next(iter(listed(text or (key_in(Path(file), f"{PREFIX}API_KEY_FILE") if file else ""))), "")
    except ValueError as error:
        raise ServiceError(str(error)) from None


def without_scheme(url: str) -> str:
    return f"the address {url} does not begin with http:// or https://: did you mean http://{url.rpartition('//')[2]}?"


def cause(error: Exception) -> str:
    """What the system said, or else the exception's own words."""
    found: object = error
    while isinstance(found, OSError) and isinstance(getattr(found, "reason", None), OSError):
        found = found.reason  # type: ignore[attr-defined]  # of a URLError
    if isinstance(found, TimeoutError):
        return f"nothing came within {SECONDS} s"
    if isinstance(found, OSError) and found.errno and found.strerror:
        refused = ": is the service running there?" * isinstance(found, ConnectionRefusedError)
        return f"{found.strerror}{refused}"
    return str(found) or type(found).__name__


def reason(answer: HTTPError) -> str:
    """What a problem document says, where a redirect leads, or else the phrase of the status line."""
    if where := answer.headers.get("Location"):
        return f"the service is at {where}"
    try:
        return str(json.loads(answer.read(MOST_PROBLEM_BYTES))["detail"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return answer.reason
