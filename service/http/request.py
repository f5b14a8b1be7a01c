"""The request that is being answered, its body read whole, in one piece and unpacked."""

import io
from typing import IO, cast

import flask
from werkzeug.utils import cached_property  # the one in functools has a lock for all requests, up to Python 3.11

from service.http.content_encoding import TooLargeError, unpacked
from service.http.problems import Problem
from service.settings import variable


class IncomingRequest(flask.Request):
    """A request whose uploads stay in memory: its size is bounded, and there may be no disk to write to."""

    limit_setting = "max_body_bytes"
    """The setting that `max_content_length` comes from."""

    @cached_property
    def body(self) -> bytes:
        """Raises Problem: 413; 400 for a body that ends early or is badly framed; 408 for one that takes too long; 415
        or 422 for one that is packed in another way than is read, or than it says.

        A body of stated length is asked for in one piece: in werkzeug's pieces it costs a predict a tenth of its time.
        """
        stated = self.environ.get("CONTENT_LENGTH", "")
        sized = stated.isascii() and stated.isdecimal() and len(stated) < 19
        if not sized and not self.environ.get("wsgi.input_terminated"):
            return b""  # there is none, or its end is unknown
        limit = self.max_content_length
        assert limit is not None
        expected = int(stated) if sized else limit + 1
        if sized and expected > limit:
            raise self.too_large()
        try:
            body: bytes = self.environ["wsgi.input"].read(expected)
        except Problem:
            raise
        except Exception:  # each server has its own for what it can't read
            raise Problem(400, "the body can't be read to its end: it is cut off or badly framed") from None
        if not sized and len(body) > limit:
            raise self.too_large()
        if sized and len(body) < expected:
            raise Problem(400, f"the body has {len(body)} bytes, but its Content-Length says {expected}")
        if (coding := self.environ.get("HTTP_CONTENT_ENCODING")) is None:
            return body
        try:
            return unpacked(body, coding, self.mimetype, limit)
        except TooLargeError:
            raise self.too_large("unpacks to more than") from None

    def too_large(self, how: str = "is larger than") -> Problem:
        return Problem(
            413,
            f"the body {how} the limit of {self.max_content_length} bytes, which is set with "
            f"{variable(self.limit_setting)}",
        )

    def _get_stream_for_parsing(self) -> IO[bytes]:
        return io.BytesIO(with_last_boundary(self.body, self.mimetype_params.get("boundary", "")))

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return io.BytesIO()


def with_last_boundary(body: bytes, boundary: str) -> bytes:
    """A form's parts, the end marked where the client forgot to."""
    delimiter = b"--" + boundary.encode("latin-1", "ignore")
    trimmed = body.rstrip(b"-\r\n")
    if not boundary or not body.startswith(delimiter) or body.rstrip().endswith(delimiter + b"--"):
        return body
    return (trimmed if trimmed.endswith(delimiter) else body + b"\r\n" + delimiter) + b"--\r\n"


request = cast(IncomingRequest, flask.request)
"""flask.request, as what it is in this application."""


def this_request() -> IncomingRequest:
    """The request itself: `request` is a proxy, which looks it up for every attribute."""
    return cast(IncomingRequest, flask.request._get_current_object())  # type: ignore[attr-defined]
