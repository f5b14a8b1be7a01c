"""Settings that hold several values: keys, origins, hosts."""

import re
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def listed(text: str) -> list[str]:
    """What commas or lines divide, without the space around it."""
    return [part for part in (piece.strip() for piece in re.split(r"[,\r\n]", text)) if part]


def normal_origin(text: str) -> str:
    """An origin as browsers write it: scheme, host and, where it is not the scheme's own, port. Raises ValueError."""
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if (
        parts.scheme not in DEFAULT_PORTS
        or not parts.hostname
        or parts.path.strip("/")
        or parts.query
        or parts.username
    ):
        raise ValueError(f"{text[:60]!r} is no origin: expected such as https://example.org or http://localhost:3000")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if port in (None, DEFAULT_PORTS[parts.scheme]) else f':{port}'}"


def host_name(text: str) -> str:
    """A name as a Host header has it, in lower case; with a dot before it: those under it, too. Raises ValueError."""
    if not re.fullmatch(r"\.?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", text.lower()):
        raise ValueError(f"{text[:60]!r} is no name of a host: expected such as example.org, .example.org or 10.0.0.7")
    return text.lower()


@lru_cache(maxsize=16)
def is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
