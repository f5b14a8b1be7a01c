"""The request that is being answered, its body read whole and in one piece."""

import io
from functools import cached_property
from typing import IO, cast

import flask
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge

from service.problems import Problem


class IncomingRequest(flask.Request):
    """A request whose uploads stay in memory: its size is bounded, and there may be no disk to write to."""

    @cached_property
    def body(self) -> bytes:
        """Raises RequestEntityTooLarge, and Problem: 400 for a body that ends early or is badly framed."""
        expected = self.content_length
        most = self.max_content_length or 0
        if expected is not None and expected > most:
            raise RequestEntityTooLarge
        try:
            if expected is None:
                body: bytes = super().get_data()
            else:
                body = self.environ["wsgi.input"].read(expected)
        except (ParseException, OSError) as error:
            raise Problem(400, f"the body can't be read to its end: {error}") from None
        if expected is not None and len(body) < expected:
            raise Problem(400, f"the body has {len(body)} bytes, but its Content-Length says {expected}")
        return body

    def _get_stream_for_parsing(self) -> IO[bytes]:
        return io.BytesIO(self.body)

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return io.BytesIO()


request = cast(IncomingRequest, flask.request)
"""flask.request, as what it is in this application."""
