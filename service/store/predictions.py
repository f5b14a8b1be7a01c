"""Predictions that wait for a label: the image as the network took it, and what it was answered.

They stand beside the log, in the same database: what is learnt from one leaves here in the transaction that appends the
train-step, so that each is learnt once, whatever dies when.
"""

import base64
import hashlib
import logging
import re
import secrets
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from model.types import FloatArray
from service.errors import PredictionsGoneError, StoreCorruptError, UnknownPredictionError
from service.store.database import Session
from service.store.schema import learnt_predictions_table, predictions_table

DAY_SECONDS = 86_400
FEWEST_REMOVED = 256
"""The oldest that are looked at, at the least, whenever room is made; at the most it is twice what came in."""

ROW_BYTES = 256
"""About what a row takes beside its image and its probabilities."""

ID_BYTES = 15
ID_PATTERN = re.compile(r"[\w-]{20}", re.ASCII)

HIGHEST = 2**63 - 1
CURSOR = struct.Struct(">qd")
CURSOR_PATTERN = re.compile(r"[\w-]{22}", re.ASCII)

logger = logging.getLogger(__name__)

columns = predictions_table.c
NOW: sa.BindParameter[float] = sa.bindparam("now", type_=sa.Float)
NUMBER: sa.BindParameter[int] = sa.bindparam("number", type_=sa.BigInteger)
OLDEST: sa.BindParameter[float] = sa.bindparam("oldest", type_=sa.Float)
MARGIN: sa.BindParameter[float] = sa.bindparam("margin", type_=sa.Float)
MOST: sa.BindParameter[int] = sa.bindparam("most", type_=sa.Integer)
ID: sa.BindParameter[str] = sa.bindparam("id", type_=sa.String)
FLOOR: sa.BindParameter[int] = sa.bindparam("floor", type_=sa.BigInteger)

SELECT_LAST = sa.select(columns.number, columns.bytes_so_far).order_by(columns.number.desc()).limit(1)
SELECT_FIRST = sa.select(columns.expires_at, columns.created_at, columns.bytes_so_far).order_by(columns.number).limit(1)
SELECT_FIRST_UNTIL = SELECT_FIRST.where(columns.created_at <= NOW)
SELECT_ONE = sa.select(*columns).where(columns.prediction_id == ID)
SELECT_EXPIRY = sa.select(columns.expires_at).where(columns.prediction_id == ID)
SELECT_NUMBER = sa.select(columns.number).where(columns.prediction_id == ID)
AT_ONCE = 100
"""Ids that are looked for with one statement."""

IDS = [sa.bindparam(f"id{at}", type_=sa.String) for at in range(AT_ONCE)]
SELECT_SOME = sa.select(*columns).where(columns.prediction_id.in_(IDS))
SELECT_LEARNT = sa.select(learnt_predictions_table.c.prediction_id, learnt_predictions_table.c.model_version).where(
    learnt_predictions_table.c.prediction_id.in_(IDS)
)
SELECT_NEWEST = (
    sa.select(*columns)
    .where(columns.number < NUMBER, columns.expires_at > NOW)
    .order_by(columns.number.desc())
    .limit(MOST)
)
SELECT_UNCERTAIN = (
    sa.select(*columns)
    .where(columns.margin >= MARGIN, sa.or_(columns.margin > MARGIN, columns.number < NUMBER), columns.expires_at > NOW)
    .order_by(columns.margin, columns.number.desc())
    .limit(MOST)
)
INSERT = sa.insert(predictions_table)
INSERT_LEARNT = sa.insert(learnt_predictions_table)
DELETE_ONE = sa.delete(predictions_table).where(columns.prediction_id == ID)
DELETE_OLDEST = sa.delete(predictions_table).where(
    columns.number.in_(
        sa.select(columns.number)
        .where(sa.or_(columns.created_at <= NOW, columns.bytes_so_far <= FLOOR))
        .order_by(columns.number)
        .limit(MOST)
        .scalar_subquery()
    ),
    sa.or_(columns.expires_at <= NOW, columns.created_at <= OLDEST, columns.bytes_so_far <= FLOOR),
)
ASKED_BY_A_STEP = (SELECT_FIRST, dict[str, Any]())
"""What `forget_expired` asks."""

DELETE_LEARNT = sa.delete(learnt_predictions_table).where(
    learnt_predictions_table.c.prediction_id.in_(
        sa.select(learnt_predictions_table.c.prediction_id)
        .where(learnt_predictions_table.c.expires_at <= NOW)
        .order_by(learnt_predictions_table.c.expires_at)
        .limit(MOST)
        .scalar_subquery()
    )
)


@dataclass(frozen=True)
class Limits:
    """How long a prediction waits, and of how many bytes, of those remembered last, any may wait."""

    seconds: float = 7 * DAY_SECONDS
    most_bytes: int = 2**30


@dataclass(frozen=True)
class Prediction:
    """created_at, expires_at: seconds since the epoch; label: the most probable class; margin: between the two most
    probable ones; probabilities: (k,) float32; pixels: (features,), uint8 0…255 or float32 0…1."""

    prediction_id: str
    created_at: float
    expires_at: float
    model_version: int
    label: int
    margin: float
    probabilities: FloatArray
    pixels: NDArray[Any]
    number: int

    @property
    def cursor(self) -> str:
        """Where it stands in either order."""
        return base64.urlsafe_b64encode(CURSOR.pack(self.number, self.margin)).rstrip(b"=").decode()


def position(cursor: str) -> tuple[int, float]:
    """The number and the margin of the prediction that a cursor is of. Raises ValueError."""
    if CURSOR_PATTERN.fullmatch(cursor) is None:
        raise ValueError("expected what another answer gave as next_before")
    number, margin = CURSOR.unpack(base64.urlsafe_b64decode(f"{cursor}=="))
    if not 0 <= margin <= 1 or number < 0:
        raise ValueError("expected what another answer gave as next_before")
    return number, margin


class Predictions:
    """What can be done with them within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def keep(
        self, pixels: NDArray[Any], probabilities: FloatArray, model_version: int, now: float, limits: Limits
    ) -> list[str]:
        """Their ids, which nobody can guess, in the images' order. pixels: (n, features); probabilities: (n, k)."""
        last = self._session.execute(SELECT_LAST).fetchone()
        number, so_far = (0, 0) if last is None else last
        pixel_type = "|u1" if pixels.dtype == np.uint8 else "<f4"
        margins = margins_of(probabilities)
        rows: list[dict[str, Any]] = []
        for row, answered, margin in zip(pixels, probabilities, margins, strict=True):
            number += 1
            fields: dict[str, Any] = {
                "number": number,
                "prediction_id": secrets.token_urlsafe(ID_BYTES),
                "created_at": now,
                "expires_at": now + limits.seconds,
                "model_version": model_version,
                "label": int(answered.argmax()),
                "margin": margin,
                "pixel_type": pixel_type,
                "probabilities": answered.astype("<f4").tobytes(),
                "pixels": row.astype(pixel_type, copy=False).tobytes(),
            }
            so_far += len(fields["pixels"]) + bytes_beside(len(answered))
            rows.append(fields | {"bytes_so_far": so_far, "digest": digest_of(fields)})
        self._session.execute_many(INSERT, rows)
        if rows:
            self._session.made_if(SELECT_NUMBER, number, id=rows[-1]["prediction_id"])
        self.make_room(now, limits, len(rows))
        return [fields["prediction_id"] for fields in rows]

    def make_room(self, now: float, limits: Limits, came_in: int = 0) -> None:
        """Remove what has expired, by what was said then or by what is allowed now, or is over the size: the oldest
        first; bounded, however much there is."""
        first, last = self._first(now), self._session.execute(SELECT_LAST).fetchone()
        most = max(2 * came_in, FEWEST_REMOVED)
        if first is not None and last is not None:
            floor, oldest = last[1] - limits.most_bytes, now - limits.seconds
            if first[0] <= now or first[1] <= oldest or first[2] <= floor:
                self._session.execute(DELETE_OLDEST, now=now, oldest=oldest, floor=floor, most=most)
        self._session.execute(DELETE_LEARNT, now=now, most=most)

    def forget_expired(self, now: float, limits: Limits) -> None:
        """As `make_room`, where there is something: one look where there isn't."""
        first = self._first(now)
        if first is not None and (first[0] <= now or first[1] <= now - limits.seconds):
            self.make_room(now, limits)

    def _first(self, now: float) -> Any:
        """The oldest one; not one that was kept while the clock was ahead, where there is another."""
        first = self._session.execute(SELECT_FIRST).fetchone()
        if first is None or first[1] <= now:
            return first
        return self._session.execute(SELECT_FIRST_UNTIL, now=now).fetchone() or first

    def take(self, ids: Sequence[str], learnt_by: int, now: float) -> list[Prediction]:
        """Those predictions, which wait no more: the train-step to version `learnt_by` learns from them.

        Raises PredictionsGoneError where some can't be learnt from; then nothing may be committed.
        """
        taken: list[Prediction] = []
        wrong: dict[int, str] = {}
        there = {row[ID_AT]: prediction_of(row) for row in self._rows(SELECT_SOME, ids)}
        learnt: dict[str, int] = dict(self._rows(SELECT_LEARNT, [one for one in ids if one not in there]))
        for at, prediction_id in enumerate(ids):
            prediction = there.get(prediction_id)
            if prediction is None:
                wrong[at] = gone(prediction_id, learnt.get(prediction_id))
                continue
            if prediction.expires_at <= now:
                wrong[at] = f"the prediction {prediction_id} has expired"
            taken.append(prediction)
        if wrong:
            raise PredictionsGoneError(wrong)
        self._session.execute_many(DELETE_ONE, [{"id": prediction.prediction_id} for prediction in taken])
        self._session.execute_many(
            INSERT_LEARNT,
            [
                {"prediction_id": one.prediction_id, "model_version": learnt_by, "expires_at": one.expires_at}
                for one in taken
            ],
        )
        return taken

    def _rows(self, statement: Any, ids: Sequence[str]) -> Iterator[Any]:
        """Those of a statement that asks for AT_ONCE ids; of some may be none: not every database takes every text."""
        possible = [one for one in ids if ID_PATTERN.fullmatch(one) is not None]
        for begin in range(0, len(possible), AT_ONCE):
            some = possible[begin : begin + AT_ONCE]
            some += some[-1:] * (AT_ONCE - len(some))
            yield from self._session.execute(statement, **{f"id{at}": one for at, one in enumerate(some)})

    def one(self, prediction_id: str, now: float) -> Prediction:
        """Raises UnknownPredictionError."""
        self._check_waits(prediction_id, now)
        return prediction_of(self._session.execute(SELECT_ONE, id=prediction_id).fetchone())

    def delete(self, prediction_id: str, now: float) -> None:
        """One that is damaged, too. Raises UnknownPredictionError."""
        self._check_waits(prediction_id, now)
        self._session.execute(DELETE_ONE, id=prediction_id)
        self._session.made_if(SELECT_NUMBER, None, id=prediction_id)

    def _check_waits(self, prediction_id: str, now: float) -> None:
        possible = ID_PATTERN.fullmatch(prediction_id) is not None
        expires_at = self._session.scalar(SELECT_EXPIRY, id=prediction_id) if possible else None
        if expires_at is None or expires_at <= now:
            raise UnknownPredictionError(prediction_id)

    def newest(self, limit: int, before: tuple[int, float] | None, now: float) -> list[Prediction]:
        return self._page(SELECT_NEWEST, limit, before or (HIGHEST, 0.0), now)

    def uncertain(self, limit: int, before: tuple[int, float] | None, now: float) -> list[Prediction]:
        """Those whose two most probable classes are closest first (margin sampling: Settles 2009, 3.1); of the same
        margin, the newest."""
        return self._page(SELECT_UNCERTAIN, limit, before or (HIGHEST, -1.0), now)

    def _page(self, statement: Any, limit: int, before: tuple[int, float], now: float) -> list[Prediction]:
        """What is damaged is left out: it is no reason to show nothing of all others."""
        number, margin = before
        page: list[Prediction] = []
        while (most := limit - len(page)) > 0:
            of_order = {"margin": margin} if statement is SELECT_UNCERTAIN else {}
            rows = list(self._session.stream(statement, number=number, now=now, most=most, **of_order))
            for row in rows:
                try:
                    page.append(prediction_of(row))
                except StoreCorruptError as error:
                    logger.error("prediction %s: %s", row[ID_AT], error)
            if len(rows) < most:
                break
            number, margin = rows[-1][NUMBER_AT], rows[-1][MARGIN_AT]
        return page


def gone(prediction_id: str, learnt_by: int | None) -> str:
    if learnt_by is not None:
        return f"the prediction {prediction_id} was learnt already, by version {learnt_by}"
    return f"the prediction {prediction_id[:60]} is not known: never remembered, expired, or deleted"


COLUMN_NAMES = tuple(column.name for column in columns)
ID_AT, NUMBER_AT, MARGIN_AT = map(COLUMN_NAMES.index, ("prediction_id", "number", "margin"))


def prediction_of(row: Sequence[Any]) -> Prediction:
    """Raises StoreCorruptError for what is not as it was written."""
    fields = dict(zip(COLUMN_NAMES, row, strict=True))
    try:
        whole = digest_of(fields) == fields["digest"]
    except (TypeError, AttributeError, ValueError, struct.error):
        whole = False
    if not whole:
        raise StoreCorruptError("a remembered prediction is corrupt: its digest does not fit")
    names = ("prediction_id", "created_at", "expires_at", "model_version", "label", "margin", "number")
    return Prediction(
        **{name: fields[name] for name in names},
        probabilities=np.frombuffer(fields["probabilities"], "<f4"),
        pixels=np.frombuffer(fields["pixels"], fields["pixel_type"]),
    )


def digest_of(fields: dict[str, Any]) -> bytes:
    """Of all that is said of a prediction but how many bytes came before it."""
    numbers = struct.pack(
        ">qddqqd",
        *(fields[name] for name in ("number", "created_at", "expires_at", "model_version", "label", "margin")),
    )
    hash_ = hashlib.sha256(numbers)
    for name in ("prediction_id", "pixel_type"):
        hash_.update(fields[name].encode() + b"\0")
    hash_.update(len(fields["probabilities"]).to_bytes(8, "big") + fields["probabilities"] + fields["pixels"])
    return hash_.digest()


def bytes_beside(classes: int) -> int:
    """What a prediction takes beside its pixels."""
    return 4 * classes + ROW_BYTES


def margins_of(probabilities: FloatArray) -> list[float]:
    """Between the two most probable classes, for each row; 1 where there is one class only."""
    if probabilities.shape[1] < 2:
        return [1.0] * len(probabilities)
    two = np.partition(probabilities, -2, axis=1)[:, -2:].astype(np.float64)
    margins: list[float] = (two[:, 1] - two[:, 0]).clip(0, 1).tolist()
    return margins
