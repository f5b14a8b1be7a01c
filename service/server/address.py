"""Addresses as a URL has them, and what is said of the one that is served."""

import sys

from service.settings import Settings, is_loopback

OPEN_TO_ALL = (
    "WARNING: it listens for other machines and has no key: anyone who reaches it may train the model, replace or roll "
    "back its weights, and read them and every example that it learnt from; set TWOLAYERNET_API_KEY"
)


def url_host(host: str) -> str:
    """An IPv6 address in brackets, anything else as it is."""
    return f"[{host}]" if ":" in host else host


def say_where(settings: Settings, port: int) -> None:
    """Where it is served, and for whom, in a line on standard error."""
    address = f"http://{url_host(settings.host)}:{port}{settings.prefix}"
    print(f"twolayernet: serving at {address}, {for_whom(settings)}", file=sys.stderr, flush=True)
    if settings.api_key is None and not is_loopback(settings.host):
        print(f"twolayernet: {OPEN_TO_ALL}", file=sys.stderr, flush=True)


def for_whom(settings: Settings) -> str:
    if settings.api_key is None:
        return "open: whoever reaches it may train it (TWOLAYERNET_API_KEY asks for a key)"
    if settings.api_key_predict is None:
        return "with a key for what changes the model or hands out its data; predict and accuracy are open"
    return "with keys, one of them for predict and accuracy"
