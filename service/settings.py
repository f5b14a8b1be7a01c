"""Every setting: its default, its bounds and its environment variable, which is TWOLAYERNET_ and the name."""

import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.replay_memory import MOST_REHEARSED, MOST_REMEMBERED
from model.two_layer_net import Activation
from service.errors import StartupError
from service.validation import sentence, shortened

PREFIX = "TWOLAYERNET_"
LARGEST_LEARNING_RATE = 10.0
SECRETS = ("api_key", "api_key_predict")
PATH = r"^(/[A-Za-z0-9._~-]+)*$"
DEFAULT_PORTS = {"http": 80, "https": 443}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


class Settings(BaseSettings):
    """Raises pydantic's ValidationError, of which `load_settings` makes one line."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    server: Literal["gunicorn", "granian"] = Field("gunicorn", description="The HTTP server.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(2, ge=1, le=256, description="Worker processes.")
    threads: int = Field(2, ge=1, le=256, description="Requests that a worker computes at once.")
    weights: Path = Field(Path("weights.npz"), description="Weights file to begin an empty store with.")
    activation: Activation | None = Field(
        None, description="Activation to assume for weights files that do not record one; none: relu."
    )
    store: str = Field("sqlite:///twolayernet.db", description="Database URL of the log of versions.")
    models: Path | None = Field(
        None,
        description="Folder of the models under /models, or their schema on PostgreSQL; none: there is one model only.",
    )
    models_open: int = Field(
        100, ge=1, le=10_000, description="Models that a worker keeps open, in addition to the default."
    )
    models_bytes: int | None = Field(
        None, ge=2**20, description="Maximum size of the store of each of those models, on SQLite; none: no limit."
    )
    store_connections: int = Field(4, ge=3, le=1000, description="Maximum connections of a worker to PostgreSQL.")
    store_wait: float = Field(0, ge=0, le=86_400, description="Seconds to wait at startup for an unreachable database.")
    max_staleness: float | None = Field(
        None, gt=0, description="Seconds without contact to PostgreSQL until predict answers 503; none: no limit."
    )
    learning_rate: float = Field(0.04, gt=0, le=LARGEST_LEARNING_RATE, description="Default learning rate.")
    max_learning_rate: float = Field(1, gt=0, le=LARGEST_LEARNING_RATE, description="Largest learning rate allowed.")
    rehearse: int = Field(8, ge=0, le=MOST_REHEARSED, description="Replayed examples for each posted one; 0: none.")
    memory_size: int = Field(1000, ge=1, le=MOST_REMEMBERED, description="Maximum examples in the replay memory.")
    gradient_norm_limit: float | None = Field(
        None, gt=0, description="Gradients with a larger norm are scaled down to it; none: no limit."
    )
    snapshot_every: int = Field(500, ge=1, description="Versions between two snapshots of the weights.")
    keep_versions: int | None = Field(None, ge=1, description="Minimum number of versions to keep; none: all.")
    remember_days: float = Field(7, gt=0, le=3650, description="Days for which predictions are kept for labelling.")
    remember_bytes: int = Field(
        2**30, ge=2**16, description="Maximum bytes of predictions kept for labelling; the oldest are dropped first."
    )
    alarm: Literal["off", "pause", "rollback"] = Field(
        "off", description="What to do when an earlier version does better: nothing, pause learning, or roll back."
    )
    alarm_false_every: int = Field(
        1_000_000,
        ge=1000,
        le=10**12,
        description="Labelled examples between two false reports that the errors have changed, at least.",
    )
    max_body_bytes: int = Field(16 * 2**20, ge=1024, description="Maximum size of a request body.")
    max_unpacked_bytes: int = Field(
        64 * 2**20, ge=1024, description="Maximum size of the arrays in a body, those of a weights file included."
    )
    max_images: int = Field(25_000, ge=1, description="Maximum number of images in one request.")
    prefix: str = Field(
        "", pattern=PATH, description="Path at which a proxy mounts the service, such as /models/digits."
    )
    trusted_proxies: int = Field(
        0, ge=0, le=10, description="Number of proxies in front whose X-Forwarded-For and -Proto headers are trusted."
    )
    trusted_forwarded_host: bool = Field(
        False, description="Trust their X-Forwarded-Host and -Prefix as well: they must set or remove both."
    )
    api_key: SecretStr | None = Field(
        None,
        description="Key required to change the model, to read its data, and for what costs much; separate several "
        "with commas or newlines.",
    )
    api_key_predict: SecretStr | None = Field(
        None, description="Key required for /predict and /accuracy; separate several with commas or newlines."
    )
    api_key_file: Path | None = Field(None, description="File to read api_key from.")
    api_key_predict_file: Path | None = Field(None, description="File to read api_key_predict from.")
    allowed_origins: Annotated[str, AfterValidator(lambda text: each(normal_origin, text))] = Field(
        "", description="Other origins whose pages may call the service, such as https://example.org, with commas."
    )
    trusted_hosts: Annotated[str, AfterValidator(lambda text: each(host_name, text))] = Field(
        "",
        description="Host names that requests may use, with commas; .example.org includes its subdomains. Empty: any, "
        "or on loopback without a trusted proxy localhost, 127.0.0.1 and [::1].",
    )
    access_log: Literal["auto", "json", "text", "off"] = Field(
        "auto", description="Request log on standard output; auto: text on a terminal, else JSON."
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, given: Any) -> Any:
        """Remove what editors add, and read the files with keys."""
        given = {name: without_marks(value) for name, value in given.items()}
        for name in SECRETS:
            path = given.get(f"{name}_file")
            if path is None:
                continue
            if given.get(name) is not None:
                raise ValueError(f"{variable(name)} and {variable(name)}_FILE are both set: set only one of them")
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

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, address: str) -> str:
        """An IPv6 address as sockets need it; URLs have it in brackets."""
        return address[1:-1] if address.startswith("[") and address.endswith("]") else address

    @field_validator("activation", "gradient_norm_limit", "keep_versions", "max_staleness", "models", mode="before")
    @classmethod
    def _none_by_its_name(cls, value: Any) -> Any:
        return None if isinstance(value, str) and value.strip().lower() == "none" else value

    @model_validator(mode="after")
    def _no_key_for_predictions_alone(self) -> "Settings":
        if self.api_key_predict is not None and self.api_key is None:
            raise ValueError(f"{PREFIX}API_KEY_PREDICT is set, but {PREFIX}API_KEY is not: anyone could train")
        return self

    def keys(self, name: Literal["api_key", "api_key_predict"]) -> list[str]:
        """The accepted keys: several while clients change from one to the next."""
        secret: SecretStr | None = getattr(self, name)
        return [] if secret is None else listed(secret.get_secret_value())


def listed(text: str) -> list[str]:
    """The parts between commas or newlines, stripped."""
    return [part for part in (piece.strip() for piece in re.split(r"[,\r\n]", text)) if part]


def each(normal: Callable[[str], str], text: str) -> str:
    return ",".join(map(normal, listed(text)))


def normal_origin(text: str) -> str:
    """An origin as browsers write it: scheme, host, and port unless it is the scheme's default. Raises ValueError."""
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    more = parts.path.strip("/") or parts.query or parts.username
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or more:
        raise ValueError(f"{text[:60]!r} is not an origin such as https://example.org or http://localhost:3000")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if port in (None, DEFAULT_PORTS[parts.scheme]) else f':{port}'}"


def host_name(text: str) -> str:
    """A name as in a Host header, in lower case; with a leading dot, it includes subdomains. Raises ValueError."""
    if not re.fullmatch(r"\.?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", text.lower()):
        raise ValueError(f"{text[:60]!r} is not a host name such as example.org, .example.org or 10.0.0.7")
    return text.lower()


@lru_cache(maxsize=16)
def is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def without_marks(value: Any) -> Any:
    """Text without the byte order mark and the carriage returns of files from Windows."""
    return value.removeprefix("\ufeff").rstrip("\r") if isinstance(value, str) else value


def key_in(path: Path, called: str) -> str:
    """The contents of a file with keys. Raises ValueError."""
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
    """Environment variables that look like settings but are none, each with the setting that it resembles, or ""."""
    known = [variable(name) for name in Settings.model_fields]
    return [
        (name, next(iter(get_close_matches(name, known, 1, 0.8)), ""))
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known and name not in NOT_OF_THE_SERVICE
    ]


def load_settings(called: Callable[[str], str] = variable) -> Settings:
    """The settings of the environment. Raises StartupError, one line that names the setting and its value.

    called: a setting's name as the user wrote it.
    """
    for name in (*SECRETS, *(f"{name}_file" for name in SECRETS)):
        if not os.environ.get(variable(name), "set").strip():
            raise StartupError(f"{called(name)} is empty: set a key, or unset it for an open service")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        if not first["loc"]:
            raise StartupError(sentence(first)) from None
        name = str(first["loc"][0])
        value = "" if name in SECRETS else f" is {shortened(os.environ.get(variable(name), ''))!r}"
        raise StartupError(f"{called(name)}{value}: {sentence(first)}") from None
