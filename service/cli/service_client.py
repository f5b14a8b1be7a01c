"""The command line's requests to a running service."""

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
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
from numpy.typing import NDArray

from model import weights_file
from model.datasets import DatasetError, Split
from model.datasets.gzip_files import whole
from model.datasets.npz import classes, labelled
from model.datasets.splits import digests
from model.safe_npz import NpyError, read_npz
from model.weights_file import Weights
from service.errors import ServiceError
from service.settings import PREFIX, key_in, listed, without_marks

SECONDS = 60
MOST_EXAMPLES_BYTES = 1 << 31
MOST_PROBLEM_BYTES = 1 << 16


@dataclass(frozen=True)
class Learnt:
    """Examples of train-steps. posted: all that were posted, as they were; in_force: those of the steps that the newest
    version contains, with the labels that they have there; rehearsed: how many of the memory were left out."""

    posted: Split
    in_force: Split
    rehearsed: int = 0

    def chosen(self, every: bool) -> Split:
        return self.posted if every else self.in_force


def fetch_examples(url: str, warn: Callable[[str], None], every: bool = False) -> Split:
    """The labelled images that a service has learnt and still holds. every: also those that are no longer in force.
    warn: called if some are gone or left out.

    Raises ServiceError, DatasetError.
    """
    pages, pixels, posted = [], 0, 0
    for page in example_pages(url, warn):
        pages.append(page.chosen(every))
        posted += len(page.posted)
        pixels += pages[-1].images.size
        if pixels > MOST_EXAMPLES_BYTES:
            raise DatasetError(f"{url} has more examples than the limit of {MOST_EXAMPLES_BYTES} pixels")
    return some(pages, posted, examples_address(url), warn)


def some(pages: list[Split], posted: int, source: str, warn: Callable[[str], None]) -> Split:
    """The chosen examples as one. posted: how many there were to choose from. Raises DatasetError if none is left."""
    if posted == 0:
        raise DatasetError(f"{source} has no examples yet")
    chosen = Split(np.concatenate([page.images for page in pages]), np.concatenate([page.labels for page in pages]))
    if len(chosen) == 0:
        raise DatasetError(f"{source} has no examples in force (see --all-examples)")
    if (out := posted - len(chosen)) > 0:
        warn(f"{source}: {out} of {posted} examples are no longer in force: they are left out (see --all-examples)")
    return chosen


class ServedElseError(ServiceError):
    """The service has made another version in the meantime."""


def fetch_learnt(
    url: str, newest: int, warn: Callable[[str], None], every: bool = False
) -> tuple[set[bytes], Split | None]:
    """Digests of the images that a service has learnt and still holds, whether in force or not, and the given number of
    the newest images. every: the newest ones, even if they are no longer in force.

    Raises as `fetch_examples` does, except for a service without examples.
    """
    seen: set[bytes] = set()
    last: Split | None = None
    for page in example_pages(url, warn):
        seen |= set(digests(page.posted.images))
        if newest:
            together = page.chosen(every) if last is None else last + page.chosen(every)
            last = together.take(np.arange(len(together))[-newest:])
    return seen, last or None


def examples_address(url: str) -> str:
    return f"{url.rstrip('/').removesuffix('/examples')}/examples"


def example_pages(url: str, warn: Callable[[str], None]) -> Iterator[Learnt]:
    address, after = examples_address(url), 0
    while True:
        headers, content = ask("GET", f"{address}?after={after}")
        if int(headers.get("X-Oldest-Model-Version", 1)) > after + 1:
            oldest = headers["X-Oldest-Model-Version"]
            warn(f"the log of {url} begins at version {oldest}: the examples from version {after + 1} on are gone")
        arrays = example_arrays(content, address)
        if arrays["t"].size == 0:
            return
        yield learnt_in(arrays, address)
        after = int(arrays["model_version"][-1])


def read_examples(path: str, warn: Callable[[str], None], every: bool = False) -> Split:
    """A file from /examples, as `fetch_examples`. Raises DatasetError; ServiceError for an address without http://."""
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", path) and not Path(path).exists():
        raise ServiceError(without_scheme(path))
    learnt = learnt_in(example_arrays(whole(Path(path), MOST_EXAMPLES_BYTES), path), path)
    if learnt.rehearsed:
        warn(f"{path}: {learnt.rehearsed} rehearsed examples are left out, {len(learnt.posted)} were posted")
    return some([learnt.chosen(every)], len(learnt.posted), path, warn)


def example_arrays(data: bytes, source: str) -> dict[str, Any]:
    try:
        arrays = read_npz(data, MOST_EXAMPLES_BYTES)
    except NpyError as error:
        raise DatasetError(f"{source}: {error}") from error
    if missing := {"x", "t", "model_version"} - set(arrays):
        raise DatasetError(f"{source}: the array {min(missing)} is missing: it should have x, t and model_version")
    return arrays


def learnt_in(arrays: dict[str, Any], source: str) -> Learnt:
    """Raises DatasetError."""
    split, _, names = labelled(arrays, "x", "t", source)
    count = len(split)
    labels, other_names = classes(arrays.get("t_in_force", arrays["t"]), count, f"{source}: t_in_force", None)
    if names is not None or other_names is not None:
        raise DatasetError(f"{source}: t holds names: it should hold class numbers")
    rehearsed, in_force = (
        booleans(arrays.get(name, np.full(count, default)), count, f"{source}: {name}")
        for name, default in (("rehearsed", False), ("in_force", True))
    )
    current = Split(split.images, labels).take(in_force & ~rehearsed)
    return Learnt(split.take(~rehearsed), current, int(rehearsed.sum()))


def booleans(array: NDArray[Any], count: int, where: str) -> NDArray[np.bool_]:
    if array.dtype != np.bool_ or array.shape != (count,):
        raise DatasetError(f"{where} is {array.dtype} {array.shape}: expected {count} booleans")
    return array


@dataclass(frozen=True)
class Served:
    """The served version, its weights, and the ETag of their bytes."""

    version: int
    weights: Weights
    etag: str


def fetch_weights(url: str) -> Served:
    """Raises ServiceError, WeightsError."""
    headers, content = ask("GET", f"{url.rstrip('/')}/weights")
    return Served(int(headers["X-Model-Version"]), weights_file.from_bytes(content), headers["ETag"])


def put_weights(url: str, weights: Weights, instead_of: Served) -> int:
    """The version that the weights became. Raises ServiceError; ServedElseError if `instead_of` is not served now."""
    headers = {"If-Match": instead_of.etag, "Content-Type": "application/octet-stream"}
    _, content = ask("PUT", f"{url.rstrip('/')}/weights", weights_file.to_bytes(weights), headers)
    return int(json.loads(content)["model_version"])


class Unfollowed(HTTPRedirectHandler):
    """Follows no redirect: the key could be sent to another host."""

    def redirect_request(self, *_: object) -> None:
        return None


def ask(
    method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[Message, bytes]:
    """The headers and the body of the response. Raises ServiceError for an error or a redirect."""
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
    """The first key, or "" without one: the service accepts each. Raises ServiceError."""
    text, file = (without_marks(os.environ.get(f"{PREFIX}{name}", "")) for name in ("API_KEY", "API_KEY_FILE"))
    try:
        keys = listed(text or (key_in(Path(file), f"{PREFIX}API_KEY_FILE") if file else ""))
    except ValueError as error:
        raise ServiceError(str(error)) from None
    return keys[0] if keys else ""


def without_scheme(url: str) -> str:
    return f"the address {url} does not begin with http:// or https://: did you mean http://{url.rpartition('//')[2]}?"


def cause(error: Exception) -> str:
    """The reason in the system's words, or else in the exception's."""
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        return cause(error.reason)
    if isinstance(error, TimeoutError):
        return f"no response within {SECONDS} s"
    if isinstance(error, ConnectionRefusedError):
        return f"{error.strerror}: is the service running there?"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def reason(answer: HTTPError) -> str:
    """The target of a redirect, the detail of a problem document, or else the phrase of the status line."""
    if target := answer.headers.get("Location"):
        return f"the service is at {target}"
    try:
        return str(json.loads(answer.read(MOST_PROBLEM_BYTES))["detail"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return answer.reason
