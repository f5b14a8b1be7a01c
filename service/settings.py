"""Every setting of the service: its default, its bounds and its environment variable, TWOLAYERNET_ and the name."""

import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.memory import MOST_REHEARSED, MOST_REMEMBERED
from model.two_layer_net import Activation
from service.errors import StartupError
from service.mistakes import sentence, shortened

PREFIX = "TWOLAYERNET_"
LARGEST_LEARNING_RATE = 10.0
SECRETS = ("api_key", "api_key_predict")
DEFAULT_PORTS = {"http": 80, "https": 443}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


class Settings(BaseSettings):
    """Raises pydantic's ValidationError for a value out of bounds; `load_settings` turns that into one line."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    server: Literal["gunicorn", "granian"] = Field("gunicorn", description="The HTTP server.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(2, ge=1, le=256, description="Worker processes.")
    threads: int = Field(2, ge=1, le=256, description="Requests that a worker computes at once.")
    weights: Path = Field(Path("weights.npz"), description="The starting point of an empty store.")
    activation: Activation | None = Field(None, description="Of a weights file that does not say its own; none: relu.")
    store: str = Field("sqlite:///twolayernet.db", description="Database URL of the log of versions.")
    store_connections: int = Field(
        4, ge=3, le=1000, description="The most connections of a worker, where the store is on PostgreSQL."
    )
    store_wait: float = Field(
        0, ge=0, le=86_400, description="How many seconds a start waits for a database that can't be reached."
    )
    max_staleness: float | None = Field(
        None,
        gt=0,
        description="The most seconds that the served version may lag unnoticed, where the store is on PostgreSQL: "
        "beyond it predict answers 503; none: no limit.",
    )
    learning_rate: float = Field(
        0.04, gt=0, le=LARGEST_LEARNING_RATE, description="Default learning rate of a train-step."
    )
    max_learning_rate: float = Field(
        1, gt=0, le=LARGEST_LEARNING_RATE, description="The largest learning rate that a request may name."
    )
    rehearse: int = Field(
        8,
        ge=0,
        le=MOST_REHEARSED,
        description="Remembered examples that take part in a train-step for each posted one; 0: the plain step.",
    )
    memory_size: int = Field(
        1000, ge=1, le=MOST_REMEMBERED, description="How many examples the live model may remember."
    )
    gradient_norm_limit: float | None = Field(
        None, gt=0, description="Gradients with a larger norm are scaled down to it; none: no limit."
    )
    snapshot_every: int = Field(500, ge=1, description="Versions between two snapshots of the weights.")
    keep_versions: int | None = Field(
        None, ge=1, description="How many of the newest versions are kept at least; none: all of them."
    )
    remember_days: float = Field(
        7, gt=0, le=3650, description="How many days a remembered prediction waits for its label."
    )
    remember_bytes: int = Field(
        2**30, ge=2**16, description="Of the predictions remembered last, how many bytes may wait for their labels."
    )
    alarm: Literal["off", "pause", "rollback"] = Field(
        "off", description="What a fall of the running accuracy does: nothing, pause learning, or go back to the best."
    )
    alarm_points: float = Field(
        10, gt=0, lt=100, description="Percentage points below its best at which the running accuracy raises the alarm."
    )
    alarm_examples: int = Field(
        1000, ge=50, le=10_000, description="Labelled examples over which the alarm's running accuracy is taken."
    )
    max_body_bytes: int = Field(16 * 2**20, ge=1024, description="The largest request body.")
    max_unpacked_bytes: int = Field(
        64 * 2**20, ge=1024, description="The largest arrays that a body may unpack to, a served network's included."
    )
    max_images: int = Field(25_000, ge=1, description="The most images in one request.")
    prefix: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path that a proxy passes on, such as /models/digits.",
    )
    trusted_proxies: int = Field(
        0, ge=0, le=10, description="Number of proxies in front whose X-Forwarded-For and -Proto headers are believed."
    )
    trusted_forwarded_host: bool = Field(
        False, description="Whether their X-Forwarded-Host and -Prefix are believed, too: they must set or clear both."
    )
    api_key: SecretStr | None = Field(
        None,
        description="Key required for what changes the model, hands out its data or costs much; separate several with "
        "commas or newlines.",
    )
    api_key_predict: SecretStr | None = Field(
        None, description="Key required for predict and accuracy; separate several with commas or newlines."
    )
    api_key_file: Path | None = Field(None, description="File to read api_key from.")
    api_key_predict_file: Path | None = Field(None, description="File to read api_key_predict from.")
    allowed_origins: str = Field(
        "", description="Other origins whose pages may call the service, such as https://example.org, with commas."
    )
    trusted_hosts: str = Field(
        "",
        description="Host names that requests may name, with commas; .example.org includes all below it. Empty: any, "
        "or on loopback without a trusted proxy localhost, 127.0.0.1 and [::1].",
    )

    access_log: Literal["auto", "json", "text", "off"] = Field(
        "auto", description="A line for each request on standard output; auto: JSON, on a terminal text."
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, given: Any) -> Any:
        """Without what editors add, and with the keys that files hold."""
        given = {name: without_marks(value) for name, value in given.items()}
        for name in SECRETS:
            path = given.get(f"{name}_file")
            if path is not None and given.get(name) is not None:
                raise ValueError(f"{variable(name)} and {variable(name)}_FILE are both set: one of them is enough")
            if path is not None:
                given[name] = key_in(Path(path), f"{variable(name)}_FILE")
        return {name: value for name, value in given.items() if value != "" or name in SECRETS}

    @field_validator(*SECRETS, mode="before")
    @classmethod
    def _some_key(cls, key: Any) -> Any:
        if isinstance(key, str) and not listed(key):
            raise ValueError("it holds no key")
        if isinstance(key, str) and any("\ud800" <= character <= "\udfff" for character in key):
            raise ValueError("it is not text")  # bytes that are not UTF-8, as Python has them in the environment
        return key

    @field_validator("allowed_origins")
    @classmethod
    def _origins_as_browsers_write_them(cls, text: str) -> str:
        return ",".join(map(normal_origin, listed(text)))

    @field_validator("trusted_hosts")
    @classmethod
    def _names_of_hosts(cls, text: str) -> str:
        return ",".join(map(host_name, listed(text)))

    @field_validator("activation", "gradient_norm_limit", "keep_versions", "max_staleness", mode="before")
    @classmethod
    def _none_by_its_name(cls, value: Any) -> Any:
        return None if isinstance(value, str) and value.strip().lower() == "none" else value

    @model_validator(mode="after")
    def _a_key_to_predict_but_none_to_train_is_a_mistake(self) -> "Settings":
        if self.api_key_predict is not None and self.api_key is None:
            raise ValueError(f"{PREFIX}API_KEY_PREDICT is set, but {PREFIX}API_KEY is not: anyone could train")
        return self

    def keys(self, name: Literal["api_key", "api_key_predict"]) -> list[str]:
        """Those that are accepted: one is enough, several while clients change from one to the next."""
        secret: SecretStr | None = getattr(self, name)
        return [] if secret is None else listed(secret.get_secret_value())


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


def without_marks(value: Any) -> Any:
    """Text without the byte order mark and the carriage returns of files that were written on Windows."""
    return value.removeprefix("\ufeff").rstrip("\r") if isinstance(value, str) else value


def key_in(path: Path, called: str) -> str:
    """What a file with keys holds. Raises ValueError."""
    try:
        text: str = without_marks(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ValueError(f"{called}: the file {path} can't be read: {why}") from None
    if not listed(text):
        raise ValueError(f"{called}: the file {path} holds no key")
    return text


NOT_OF_THE_SERVICE = {"TWOLAYERNET_MNIST_MIRROR"}


def unknown_variables() -> list[tuple[str, str]]:
    """The environment's variables that look like settings and are none, and for each the setting that it may mean."""
    known = [variable(name) for name in Settings.model_fields]
    return [
        (name, next(iter(get_close_matches(name, known, 1, 0.8)), ""))
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known and name not in NOT_OF_THE_SERVICE
    ]


def load_settings(called: Callable[[str], str] = variable) -> Settings:
    """The settings of the environment. Raises StartupError, one line that names the setting and what it holds.

    called: what a setting's name is to whoever made it.
    """
    for name in [*SECRETS, *(f"{name}_file" for name in SECRETS)]:
        if variable(name) in os.environ and not os.environ[variable(name)].strip():
            raise StartupError(f"{called(name)} is empty: set a key, or leave it out for an open service")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        if not first["loc"]:
            raise StartupError(sentence(first)) from None
        name = str(first["loc"][0])
        holds = "" if name in SECRETS else f" is {shortened(os.environ.get(variable(name), ''))!r}"
        raise StartupError(f"{called(name)}{holds}: {sentence(first)}") from None
