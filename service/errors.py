"""What can go wrong apart from bad input: exceptions that every part of the service may raise, and exit codes."""

from model.online import UnsafeStepError as UnsafeStepError  # noqa: PLC0414  the one of them that the model raises


class StartupError(Exception):
    """The service can't start; the message is one line that says why and what would help."""


class EmptyStoreError(StartupError):
    """There is nothing in the store, and nothing to begin with."""


class StoreError(Exception):
    """The store can't be used at the moment: full, read-only, locked by something else, gone."""


class StoreAwayError(StoreError):
    """The store's database can't be reached: a start may succeed later."""


class StoreCorruptError(StoreError):
    """What the store holds is not what was written."""


class StoreBusyError(StoreError):
    """Others hold the store, for longer than a request should wait."""


class StoreReplacedError(StoreError):
    """The store's file was removed, or is another one than the one that is served."""


class NotYetError(LookupError):
    """A version that a request waited for has not come."""

    def __init__(self, model_version: int, newest: int) -> None:
        super().__init__(f"there is no version {model_version} yet: the newest is {newest}")


class UnknownVersionError(LookupError):
    """There is no such version, or it has been folded into a later one."""

    def __init__(self, model_version: int, oldest: int, newest: int) -> None:
        self.model_version = model_version
        super().__init__(f"there is no version {model_version}: the store has {oldest} to {newest}")


class KeyReusedError(Exception):
    """An Idempotency-Key came again with another body."""


class WeightsChangedError(Exception):
    """The newest version is not the one that a request named."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        super().__init__(f"the newest version is {newest} by now, whose ETag is not the one in If-Match")


class LearningPausedError(Exception):
    """Nothing is learnt at the moment, for a reason that the message names."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"learning is paused: {reason}. PUT /learning goes on")


class PredictionsGoneError(LookupError):
    """Some predictions can't be learnt from. wrong: for each its place and what is the matter."""

    def __init__(self, wrong: dict[int, str]) -> None:
        self.wrong = wrong
        first = next(iter(wrong.values()))
        super().__init__(first if len(wrong) == 1 else f"{first} (and {len(wrong) - 1} more)")


class UnknownPredictionError(LookupError):
    """No such prediction waits for a label."""

    def __init__(self, prediction_id: str) -> None:
        super().__init__(
            f"no prediction {prediction_id[:60]!r} waits for a label: it was never remembered, or has expired, "
            "been learnt or deleted"
        )


class ServiceError(Exception):
    """A running service does not answer the command line, or says no; the message is one line."""


# Every exit code of the command `twolayernet`; a signal that ends it gives 128 and the signal's number.

DONE = 0
WORSE = 1
"""gradcheck: an error above the tolerance. publish: worse than what is served. Nothing was changed."""
DIVERGED = 1
"""train: it learnt nothing, or what is not finite; the weights file was left as it was."""
MISTAKE = 2
"""In an option, a setting, a file or an address; or what it needs can't be had. One line says what."""
NO_START = 4
"""The store, the weights or the address can't be served. gunicorn takes it as the sign to not try again."""
AWAY = 5
"""The store's database can't be reached. Another try may succeed, without a change to any setting."""
CRASHED = 70
"""An error in the program itself, with its traceback."""
INTERRUPTED = 130
"""128 + SIGINT: Ctrl-C. Training keeps what there is."""
BROKEN_PIPE = 141
"""128 + SIGPIPE: whoever read the output stopped reading."""
