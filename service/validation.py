"""What pydantic finds wrong, in plain sentences: for answers to requests and for settings."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

MOST_ERRORS = 20
"""Mistakes that an answer lists."""

EXPECTED = {
    "missing": "it is missing, but required",
    "finite_number": "expected a finite number, not NaN or infinity",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_parsing_size": "expected a whole number of fewer digits",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "string_type": "expected text",
    "list_type": "expected a list",
    "dict_type": "expected a JSON object",
    "model_type": "expected a JSON object",
    "model_attributes_type": "expected a JSON object",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected {ge} or more",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected {le} or less",
    "too_short": "expected at least {min_length}, not {actual_length}",
    "too_long": "expected at most {max_length}, not {actual_length}",
    "string_too_short": "expected at least {min_length} characters",
    "string_too_long": "expected at most {max_length} characters",
    "string_pattern_mismatch": "expected text of the pattern {pattern}",
    "literal_error": "expected {expected}",
}
"""By pydantic's type of error. Other types keep pydantic's message."""


def sentence(mistake: Mapping[str, Any], known: Iterable[str] = ()) -> str:
    """What was expected. mistake: one of `ValidationError.errors()`; known: the fields that exist."""
    if mistake["type"] == "extra_forbidden":
        return unknown_field(str(mistake["loc"][-1]), sorted(known))
    template = EXPECTED.get(mistake["type"])
    if template is None:
        return str(mistake["msg"]).removeprefix("Value error, ")
    values = mistake.get("ctx", {}).items()
    return template.format_map({name: f"{it:.15g}" if isinstance(it, float) else it for name, it in values})


def unknown_field(name: str, known: list[str]) -> str:
    expected = f"expected {', '.join(known)}" if known else "nothing is expected here"
    close = get_close_matches(shortened(name).lower().replace("-", "_"), known, 1, 0.7)
    return f"unknown {shortened(name)!r}: {expected}{f' (did you mean {close[0]}?)' if close else ''}"


def shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
