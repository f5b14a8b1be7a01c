"""Files that a package brings along, and other answers that a client may keep: with an ETag, by which it asks again."""

from functools import cache
from importlib.resources import files
from mimetypes import guess_type

from flask import Response, request
from werkzeug.exceptions import NotFound

POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " + (
    "frame-ancestors 'none'; style-src 'self'; img-src 'self' data: blob:"
)
"""What a page of ours may load: nothing of another host, and no script but from a file of ours."""


@cache
def packaged(package: str, folder: str) -> dict[str, bytes]:
    """The files in a folder of a package, by their names."""
    return {file.name: file.read_bytes() for file in (files(package) / folder).iterdir() if file.is_file()}


def page_file(package: str, folder: str, name: str) -> Response:
    """Raises NotFound."""
    data = packaged(package, folder).get(name)
    if data is None:
        raise NotFound
    return kept(data, "text/javascript" if name.endswith(".js") else guess_type(name)[0])


def kept(data: bytes, mimetype: str | None) -> Response:
    answer = Response(data, mimetype=mimetype)
    answer.headers["Cache-Control"] = "no-cache"  # kept, but asked about: a new release has the same names
    if mimetype == "text/html":
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Referrer-Policy"] = "no-referrer"
    answer.add_etag()
    answer.make_conditional(request)
    return answer
