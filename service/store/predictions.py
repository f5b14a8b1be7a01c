"""Predictions that are kept for labelling: the image as the network received it, and what was answered.

They are in the same database as the log. A train-step that learns from one records that in its own transaction, so each
is learnt once. It can be learnt again when no step that learnt it is in force any more.
"""

import base64
import logging
import re
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from model.types import FloatArray
from service.errors import PredictionsGoneError, StoreCorruptError, UnknownPredictionError
from service.store.database import Session
from service.store.records import digest_of, pixel_type_of
from service.store.schema import UNLEARNT, learnt_predictions_table, predictions_table

Order = Literal["newest", "uncertain"]
Position = tuple[int, float]
"""A prediction's place in either order: its number and its margin."""

DAY_SECONDS = 86_400
ROW_BYTES = 256  # about what a row takes in addition to its image and its probabilities
CHECKED = 64  # of the oldest predictions, with each change; at least twice as many as are kept by it
AT_ONCE = 100  # ids in one query

ID_BYTES = 15
ID_PATTERN = re.compile(r"[\w-]{20}", re.ASCII)
CURSOR = struct.Struct(">cqd")
CURSOR_PATTERN = re.compile(r"[\w-]{23}", re.ASCII)
FIRST = (2**63 - 1, -1.0)  # the position before all others

logger = logging.getLogger(__name__)

columns, learnt_columns = predictions_table.c, learnt_predictions_table.c
NOW: sa.BindParameter[float] = sa.bindparam("now", type_=sa.Float)
NUMBER: sa.BindParameter[int] = sa.bindparam("number", type_=sa.BigInteger)
OLDEST: sa.BindParameter[float] = sa.bindparam("oldest", type_=sa.Float)
MARGIN: sa.BindParameter[float] = sa.bindparam("margin", type_=sa.Float)
MOST: sa.BindParameter[int] = sa.bindparam("most", type_=sa.Integer)
ID: sa.BindParameter[str] = sa.bindparam("id", type_=sa.String)
IDS = [sa.bindparam(f"id{at}", type_=sa.String) for at in range(AT_ONCE)]
FLOOR: sa.BindParameter[int] = sa.bindparam("floor", type_=sa.BigInteger)

SELECT_LAST = sa.select(columns.number, columns.bytes_so_far).order_by(columns.number.desc()).limit(1)
SELECT_ONE = sa.select(*columns).where(columns.prediction_id == ID)
SELECT_EXPIRY = sa.select(columns.expires_at).where(columns.prediction_id == ID, UNLEARNT)
SELECT_NUMBER = sa.select(columns.number).where(columns.prediction_id == ID)
SELECT_SOME = sa.select(*columns).where(columns.prediction_id.in_(IDS))
SELECT_LEARNT = sa.select(learnt_columns.prediction_id, learnt_columns.model_version).where(
    learnt_columns.prediction_id.in_(IDS)
)
NOT_EXPIRED = sa.select(*columns).where(UNLEARNT, columns.expires_at > NOW).limit(MOST)
MARK_CHOSEN = sa.update(predictions_table).where(columns.prediction_id == ID).values(chosen=1)
SELECT_PAGE = {
    "newest": NOT_EXPIRED.where(columns.number < NUMBER).order_by(columns.number.desc()),
    "uncertain": NOT_EXPIRED.where(
        columns.margin >= MARGIN, sa.or_(columns.margin > MARGIN, columns.number < NUMBER)
    ).order_by(columns.margin, columns.number.desc()),
}
INSERT = sa.insert(predictions_table)
INSERT_LEARNT = sa.insert(learnt_predictions_table)
MARK_LEARNT = sa.update(predictions_table).where(columns.prediction_id == ID).values(learnt=1)
DELETE_ONE = sa.delete(predictions_table).where(columns.prediction_id == ID)
DELETE_OLDEST = sa.delete(predictions_table).where(
    columns.number.in_(
        sa.select(columns.number)  # without those that were kept while the clock was ahead
        .where(sa.or_(columns.created_at <= NOW, columns.bytes_so_far <= FLOOR))
        .order_by(columns.number)
        .limit(MOST)
        .scalar_subquery()
    ),
    sa.or_(columns.expires_at <= NOW, columns.created_at <= OLDEST, columns.bytes_so_far <= FLOOR),
)
DELETE_LEARNT = sa.delete(learnt_predictions_table).where(
    learnt_columns.prediction_id.in_(
        sa.select(learnt_columns.prediction_id)
        .where(learnt_columns.expires_at <= NOW)
        .order_by(learnt_columns.expires_at)
        .limit(MOST)
        .scalar_subquery()
    )
)


@dataclass(frozen=True)
class Limits:
    """How long a prediction is kept, and how many bytes of predictions are; the oldest are deleted first."""

    seconds: float = 7 * DAY_SECONDS
    most_bytes: int = 2**30


@dataclass(frozen=True)
class Prediction:
    """created_at, expires_at: seconds since the epoch; label: the most probable class; margin: between the two most
    probable ones; probabilities: (k,) float32; pixels: (features,), uint8 0…255 or float32 0…1; number: higher than
    that of every earlier one; pinned: 1 if the client named another version than the newest; chosen: 1 once it was
    listed as one of the most uncertain."""

    prediction_id: str
    created_at: float
    expires_at: float
    model_version: int
    label: int
    margin: float
    probabilities: FloatArray
    pixels: NDArray[Any]
    number: int
    pinned: int | None = None
    chosen: int | None = None

    def cursor(self, order: Order) -> str:
        """Its position in an order, as text."""
        packed = CURSOR.pack(order[0].encode(), self.number, self.margin)
        return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def position(cursor: str, order: Order) -> Position:
    """Raises ValueError for a text that is no cursor of this order."""
    if CURSOR_PATTERN.fullmatch(cursor) is not None:
        kind, number, margin = CURSOR.unpack(base64.urlsafe_b64decode(f"{cursor}="))
        if kind == order[0].encode() and number >= 0 and 0 <= margin <= 1:
            return number, margin
    raise ValueError("not a valid cursor: pass next_before from a previous page of the same order")


class Predictions:
    """What can be done with them within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def keep(
        self,
        pixels: NDArray[Any],
        probabilities: FloatArray,
        model_version: int,
        now: float,
        limits: Limits,
        *,
        pinned: bool = False,
    ) -> list[str]:
        """Their ids, which are random, in the images' order. pixels: (n, features); probabilities: (n, k)."""
        last = self._session.execute(SELECT_LAST).fetchone()
        number, so_far = (0, 0) if last is None else last
        pixel_type = pixel_type_of(pixels)
        rows: list[dict[str, Any]] = []
        for row, answered, margin in zip(pixels, probabilities, margins_of(probabilities), strict=True):
            number += 1
            fields: dict[str, Any] = {
                "number": number,
                "prediction_id": secrets.token_urlsafe(ID_BYTES),
                "created_at": now,
                "expires_at": now + limits.seconds,
                "model_version": model_version,
                "label": int(answered.argmax()),
                "margin": margin,
                "pinned": 1 if pinned else None,
                "chosen": None,
                "learnt": None,
                "pixel_type": pixel_type,
                "probabilities": answered.astype("<f4").tobytes(),
                "pixels": row.astype(pixel_type, copy=False).tobytes(),
            }
            so_far += len(fields["pixels"]) + bytes_without_pixels(len(answered))
            rows.append(fields | {"bytes_so_far": so_far, "digest": digest_of(fields)})
        self._session.execute_many(INSERT, rows)
        if rows:
            self._session.confirm_by(SELECT_NUMBER, number, id=rows[-1]["prediction_id"])
        most = max(2 * len(rows), CHECKED)
        self.delete_expired(now, limits, most, floor=so_far - limits.most_bytes)
        return [fields["prediction_id"] for fields in rows]

    def delete_expired(self, now: float, limits: Limits, most: int = CHECKED, floor: int = -1) -> None:
        """Of the oldest ones, at most `most`, delete those that have expired, are older than the limit allows now, or
        have no more than `floor` bytes before them."""
        self._session.execute(DELETE_OLDEST, now=now, oldest=now - limits.seconds, floor=floor, most=most)
        self._session.execute(DELETE_LEARNT, now=now, most=most)

    def take(
        self, ids: Sequence[str], learnt_by: int, now: float, is_in_force: Callable[[int], bool]
    ) -> list[Prediction]:
        """Those predictions, which the train-step to version `learnt_by` learns from. is_in_force: whether what an
        earlier train-step taught is in the model.

        Raises PredictionsGoneError where some can't be learnt from; then nothing may be committed.
        """
        rows = list(self._rows(SELECT_SOME, ids))
        found = {row[ID_AT]: prediction_of(row) for row in rows}
        new = {row[ID_AT] for row in rows if row[LEARNT_AT] is None}
        before = self._rows(SELECT_LEARNT, [one for one in ids if one not in new])
        learnt = {one: version for one, version in before if is_in_force(version)}
        wrong: dict[int, str] = {}
        for at, one in enumerate(ids):
            if one in learnt:
                wrong[at] = f"the prediction {one} was already learnt, by version {learnt[one]}"
            elif one not in found:
                wrong[at] = f"the prediction {one[:60]} is unknown: it was never kept, has expired, or was deleted"
            elif found[one].expires_at <= now:
                wrong[at] = f"the prediction {one} has expired"
        if wrong:
            raise PredictionsGoneError(wrong)
        taken = [found[one] for one in ids]
        self._session.execute_many(MARK_LEARNT, [{"id": one.prediction_id} for one in taken])
        self._session.execute_many(
            INSERT_LEARNT,
            [
                {"prediction_id": one.prediction_id, "model_version": learnt_by, "expires_at": one.expires_at}
                for one in taken
            ],
        )
        return taken

    def _rows(self, statement: Any, ids: Sequence[str]) -> Iterator[Any]:
        """The rows of a query for AT_ONCE ids. A text that can't be an id is left out: a database may refuse it."""
        possible = [one for one in ids if ID_PATTERN.fullmatch(one) is not None]
        for begin in range(0, len(possible), AT_ONCE):
            some = possible[begin : begin + AT_ONCE]
            some += some[-1:] * (AT_ONCE - len(some))
            yield from self._session.execute(statement, **{f"id{at}": one for at, one in enumerate(some)})

    def one(self, prediction_id: str, now: float) -> Prediction:
        """Raises UnknownPredictionError."""
        self._check_kept(prediction_id, now)
        return prediction_of(self._session.execute(SELECT_ONE, id=prediction_id).fetchone())

    def delete(self, prediction_id: str, now: float) -> None:
        """A damaged one, too. Raises UnknownPredictionError."""
        self._check_kept(prediction_id, now)
        self._session.execute(DELETE_ONE, id=prediction_id)
        self._session.confirm_by(SELECT_NUMBER, None, id=prediction_id)

    def _check_kept(self, prediction_id: str, now: float) -> None:
        possible = ID_PATTERN.fullmatch(prediction_id) is not None
        expires_at = self._session.scalar(SELECT_EXPIRY, id=prediction_id) if possible else None
        if expires_at is None or expires_at <= now:
            raise UnknownPredictionError(prediction_id)

    def mark_chosen(self, predictions: Sequence[Prediction]) -> None:
        self._session.execute_many(MARK_CHOSEN, [{"id": one.prediction_id} for one in predictions])

    def page(self, order: Order, limit: int, before: Position | None, now: float) -> list[Prediction]:
        """`uncertain`: in the order of their margins (margin sampling: Settles 2009, 3.1), of equal ones the newest
        first. A damaged prediction is left out, since it must not hide all others."""
        number, margin = before or FIRST
        page: list[Prediction] = []
        while (most := limit - len(page)) > 0:
            rows = list(self._session.execute(SELECT_PAGE[order], number=number, margin=margin, now=now, most=most))
            for row in rows:
                try:
                    page.append(prediction_of(row))
                except StoreCorruptError as error:
                    logger.error("prediction %s: %s", row[ID_AT], error)
            if len(rows) < most:
                break
            number, margin = rows[-1][NUMBER_AT], rows[-1][MARGIN_AT]
        return page


COLUMN_NAMES = tuple(str(column.name) for column in columns)  # orjson refuses SQLAlchemy's own type of text
ID_AT, NUMBER_AT, MARGIN_AT, LEARNT_AT = map(COLUMN_NAMES.index, ("prediction_id", "number", "margin", "learnt"))


def prediction_of(row: Sequence[Any]) -> Prediction:
    """Raises StoreCorruptError for a row that is not as it was written."""
    fields = dict(zip(COLUMN_NAMES, row, strict=True))
    digest, chosen, _ = fields.pop("digest"), fields.pop("chosen"), fields.pop("bytes_so_far")
    fields.pop("learnt")
    try:
        whole = digest == digest_of(fields)
    except TypeError:
        whole = False
    if not whole:
        raise StoreCorruptError("a kept prediction is corrupt: its digest does not match")
    probabilities = np.frombuffer(fields.pop("probabilities"), "<f4")
    pixels = np.frombuffer(fields.pop("pixels"), fields.pop("pixel_type"))
    return Prediction(**fields, chosen=chosen, probabilities=probabilities, pixels=pixels)


def bytes_without_pixels(classes: int) -> int:
    """What a prediction takes in addition to its pixels."""
    return 4 * classes + ROW_BYTES


def margins_of(probabilities: FloatArray) -> list[float]:
    """Between the two most probable classes, for each row; 1 where there is one class only."""
    if probabilities.shape[1] < 2:
        return [1.0] * len(probabilities)
    two = np.partition(probabilities, -2, axis=1)[:, -2:].astype(np.float64)
    margins: list[float] = (two[:, 1] - two[:, 0]).clip(0, 1).tolist()
    return margins
