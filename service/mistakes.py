"""What pydantic finds wrong, in plain sentences: for answers to requests and for settings alike."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

MOST_ERRORS = 20
"""Mistakes that an answer or a message names."""

EXPECTED = {
    "missing": "it is missing, but required",
    "finite_number": "expected a finite number: NaN and infinity are none",
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
    "too_short": "expected at least {min_length}, found {actual_length}",
    "too_long": "expected at most {max_length}, found {actual_length}",
    "string_too_short": "expected at least {min_length} characters",
    "string_too_long": "expected at most {max_length} characters",
    "string_pattern_mismatch": "expected text of the pattern {pattern}",
    "literal_error": "expected {expected}",
}
"""By pydantic's type of error. What is not here is said in pydantic's words."""


def sentence(mistake: Mapping[str, Any], known: Iterable[str] = ()) -> str:
    """What was expected. mistake: one of `ValidationError.errors()`; known: the fields that there are."""
    if mistake["type"] == "extra_forbidden":
        return not_known(str(mistake["loc"][-1]), known)
    template = EXPECTED.get(mistake["type"])
    if template is None:
        return str(mistake["msg"]).removeprefix("Value error, ")
    return template.format_map({name: plain(value) for name, value in mistake.get("ctx", {}).items()})


def not_known(name: str, known: Iterable[str]) -> str:
    """That there is no such field, which ones there are, and which one is likely to be meant."""
    names = sorted(known)
    there_are = f"known are {', '.join(names)}" if names else "there is none to give here"
    return f"{shortened(name)!r} is not known: {there_are}{is_meant(name, names)}"


def is_meant(name: str, names: Iterable[str]) -> str:
    """The question for the name that is closest, if one is close."""
    close = get_close_matches(shortened(name).lower().replace("-", "_"), names, 1, 0.7)
    return f" (is {close[0]} meant?)" if close else ""


def shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def plain(value: object) -> object:
    """A bound of 10.0 is said as 10."""
    return f"{value:.15g}" if isinstance(value, float) else value
