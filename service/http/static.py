"""Files that a package brings along, as answers with an ETag, gzipped for whoever takes that."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from flask import Response
from werkzeug.exceptions import NotFound

from service.http.incoming import IncomingRequest

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
WORTH_PACKING = 1000
"""Bytes below which gzip saves no packet."""

POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " + (
    "frame-ancestors 'none'; style-src 'self'; img-src 'self' data: blob:"
)
"""What a page of ours may load: nothing of another host, and no script but from a file of ours."""


@dataclass(frozen=True)
class Static:
    """What does not change while the service runs."""

    data: bytes
    packed: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, data: bytes, media_type: str) -> "Static":
        packed = gzip.compress(data, mtime=0) if len(data) > WORTH_PACKING else data
        return cls(data, packed, media_type, hashlib.sha256(data).hexdigest()[:32])

    def answer(self, request: IncomingRequest) -> Response:
        """304 where the client has it already."""
        gzipped = self.packed is not self.data and request.accept_encodings["gzip"] > 0
        answer = Response(self.packed if gzipped else self.data, content_type=self.media_type)
        if gzipped:
            answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Vary"] = "Accept-Encoding"
        answer.headers["Cache-Control"] = "no-cache"  # kept, but asked about: a new release has the same names
        if self.media_type.startswith("text/html"):
            answer.headers["Content-Security-Policy"] = POLICY
            answer.headers["Referrer-Policy"] = "no-referrer"
        answer.set_etag(f"{self.etag}-gzip" if gzipped else self.etag)
        answer.make_conditional(request)
        return answer


@cache
def packaged(package: str, folder: str, name: str) -> Static:
    """A file of a package. Raises NotFound for a name that is none of its files' or not of a kind that pages load."""
    media_type = MEDIA_TYPES.get(name[name.rfind(".") :])
    file = next((file for file in (files(package) / folder).iterdir() if file.name == name), None)
    if media_type is None or file is None or not file.is_file():
        raise NotFound
    return Static.of(file.read_bytes(), media_type)
