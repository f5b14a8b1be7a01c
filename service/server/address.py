"""The address that is served: as part of a URL, and the lines about it at startup."""

import sys

from service.settings import Settings, is_loopback

OPEN_TO_ALL = (
    "WARNING: other machines can reach it and it has no key: anyone who does can train the model, replace or roll back "
    "its weights, and read them and every example that it learnt from; set TWOLAYERNET_API_KEY"
)


def url_host(host: str) -> str:
    """An IPv6 address in brackets, anything else unchanged."""
    return f"[{host}]" if ":" in host else host


def say_where(settings: Settings, port: int) -> None:
    """Print on standard error where it is served, and who may use it."""
    address = f"http://{url_host(settings.host)}:{port}{settings.prefix}"
    print(f"twolayernet: serving at {address}, {for_whom(settings)}", file=sys.stderr, flush=True)
    if settings.api_key is None and not is_loopback(settings.host):
        print(f"twolayernet: {OPEN_TO_ALL}", file=sys.stderr, flush=True)


def for_whom(settings: Settings) -> str:
    if settings.api_key is None:
        return "open: anyone who can reach it can train it (TWOLAYERNET_API_KEY sets a key)"
    if settings.api_key_predict is None:
        return "with a key to change the model or read its data; predict and accuracy are open"
    return "with keys, also for predict and accuracy"
