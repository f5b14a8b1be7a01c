"""Errors other than bad input, which every part of the service may raise, and the exit codes."""

from model.online_step import UnsafeStepError as UnsafeStepError  # noqa: PLC0414  the only one that the model raises


class StartupError(Exception):
    """The service can't start. The message is one line: why, and what would help."""


class EmptyStoreError(StartupError):
    """The store is empty, and there are no weights to begin with."""


class StoreError(Exception):
    """The store can't be used now: full, read-only, locked, missing."""


class StoreAwayError(StoreError):
    """The store's database can't be reached: a start may succeed later."""


class StoreCorruptError(StoreError):
    """The store does not contain what was written."""


class StoreBusyError(StoreError):
    """Others have locked the store for longer than a request should wait."""


class StoreReplacedError(StoreError):
    """The store's file was removed, or replaced by another one, while it was served."""


class NotYetError(LookupError):
    """A version that a request waited for has not arrived."""

    def __init__(self, model_version: int, newest: int) -> None:
        super().__init__(f"there is no version {model_version} yet: the newest is {newest}")


class UnknownVersionError(LookupError):
    """There is no such version, or it was folded into a later one."""

    def __init__(self, model_version: int, oldest: int, newest: int) -> None:
        self.model_version = model_version
        super().__init__(f"there is no version {model_version}: the store has {oldest} to {newest}")


class NotInForceError(LookupError):
    """The newest version does not contain some train-steps, or not as they were described. wrong: the reasons, by
    their place in the request."""

    def __init__(self, wrong: dict[tuple[str | int, ...], str]) -> None:
        self.wrong = wrong
        first = next(iter(wrong.values()))
        super().__init__(first if len(wrong) == 1 else f"{first} (and {len(wrong) - 1} more)")


class UnknownClassError(LookupError):
    """A label that the newest version has no class for: the class was taken back in the meantime."""

    def __init__(self, label: int, classes: int) -> None:
        super().__init__(f"the label is {label}: expected a class number, 0…{classes - 1}; POST /classes adds a class")


class NewClassError(ValueError):
    """A class that can't be added to the served network."""


class FoldedAwayError(LookupError):
    """A train-step that can't be taken out any more: what was before it is not kept."""

    def __init__(self, model_version: int, first: int) -> None:
        super().__init__(
            f"version {model_version} can't be changed any more, since what came before it is no longer kept: that is "
            f"possible from version {first} on"
        )


class KeyReusedError(Exception):
    """An Idempotency-Key was sent again with another body."""


class WeightsChangedError(Exception):
    """The newest version is not the one that the request names."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        super().__init__(f"the newest version is now {newest}, whose ETag is not the one in If-Match")


class LearningPausedError(Exception):
    """Learning is paused."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"learning is paused: {reason}. PUT /learning resumes it")


class PredictionsGoneError(LookupError):
    """Some predictions can't be learnt from. wrong: the reason for each, by its place."""

    def __init__(self, wrong: dict[int, str]) -> None:
        self.wrong = wrong
        first = next(iter(wrong.values()))
        super().__init__(first if len(wrong) == 1 else f"{first} (and {len(wrong) - 1} more)")


class UnknownPredictionError(LookupError):
    """No such prediction is kept for labelling."""

    def __init__(self, prediction_id: str) -> None:
        super().__init__(
            f"no prediction {prediction_id[:60]!r} is kept for labelling: it never was, or it has expired, was learnt "
            "or deleted"
        )


class NoModelsError(LookupError):
    """The service has one model only."""

    def __init__(self, variable: str) -> None:
        super().__init__(f"this service has one model, without a name: set {variable} for others")


class UnknownModelError(LookupError):
    """There is no model of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no model {name[:80]!r}: GET /models lists them, PUT /models/{{name}} makes one")


class ModelExistsError(Exception):
    """There is a model of this name already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a model {name!r} already: choose another name")


class ServiceError(Exception):
    """A running service does not answer the command line, or refuses. The message is one line."""


# Every exit code of the command `twolayernet`. A signal that ends it gives 128 and the signal's number.

DONE = 0
WORSE = 1
"""gradcheck: an error above the tolerance. publish: worse than what is served. Nothing was changed."""
DIVERGED = 1
"""train: it learnt nothing, or a weight is not finite. The weights file was left as it was."""
MISTAKE = 2
"""A mistake in an option, a setting, a file or an address, or a missing requirement. One line says what."""
NO_START = 4
"""The store, the weights or the address can't be served. gunicorn itself exits with 4 when an application can't be
loaded, and does not retry: with a bare `gunicorn service.wsgi:app`, a mistake in a setting is 4 as well."""
AWAY = 5
"""The store's database can't be reached. Retrying may succeed with the same settings."""
CRASHED = 70
"""An error in the program itself, with its traceback."""
INTERRUPTED = 130
"""128 + SIGINT: Ctrl-C. Training keeps its progress."""
BROKEN_PIPE = 141
"""128 + SIGPIPE: the reader of the output stopped reading."""
