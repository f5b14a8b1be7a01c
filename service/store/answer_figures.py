"""How confident the answers are, without any label: the first thousand since the model was loaded, and the last.

A row of JSON, to which each worker adds a block from time to time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from service.errors import StoreCorruptError
from service.store.database import Session
from service.store.records import digest_of
from service.store.schema import answers_table

IMAGES = 1000  # of either window: at least, in whole blocks

SELECT = sa.select(*answers_table.c)
DELETE = sa.delete(answers_table)
INSERT = sa.insert(answers_table)


class Block(NamedTuple):
    """images: how many were answered; confidence: the sum of the highest probability of each; pictures: how many
    pictures came; refused: how many of these show no digit, or several."""

    images: int = 0
    confidence: float = 0.0
    pictures: int = 0
    refused: int = 0

    @property
    def size(self) -> int:
        return self.images + self.refused


EMPTY = Block()


def total(blocks: Iterable[Block]) -> Block:
    return Block(*map(sum, zip(EMPTY, *blocks, strict=True)))


@dataclass(frozen=True)
class AnswerFigures:
    """since: the version that was loaded; last: blocks, oldest first."""

    since: int = 1
    first: Block = EMPTY
    last: Sequence[Block] = ()

    @classmethod
    def of(cls, session: Session) -> "AnswerFigures":
        """Raises StoreCorruptError."""
        row = session.execute(SELECT).fetchone()
        if row is None:
            return cls()
        since, figures, digest = row
        if digest != digest_of({"since": since, "figures": figures}):
            raise StoreCorruptError("the figures of the answers are corrupt: a digest does not match")
        first, *last = (Block(*numbers) for numbers in orjson.loads(figures))
        return cls(since, first, last)

    def after(self, block: Block) -> "AnswerFigures":
        last = [*self.last, block]
        while total(last[1:]).size >= IMAGES:
            del last[0]
        return AnswerFigures(self.since, self.first if self.first.size >= IMAGES else total((self.first, block)), last)

    def write(self, session: Session) -> None:
        figures = orjson.dumps([list(block) for block in (self.first, *self.last)]).decode()
        session.execute(DELETE)
        digest = digest_of({"since": self.since, "figures": figures})
        session.execute(INSERT, since_version=self.since, figures=figures, digest=digest)

    @property
    def windows(self) -> tuple[Block, Block]:
        """The first images and the last ones."""
        return self.first, total(self.last)
