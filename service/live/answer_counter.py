"""What this worker has answered: counted in memory, and added to the store's figures from time to time."""

import contextlib
import threading
import time

from model.types import FloatArray
from service.errors import StoreError
from service.store.answer_figures import AnswerFigures, Block, total
from service.store.log import StepLog

FEWEST_IMAGES = 100
SECONDS = 5.0
"""Between two additions of a worker, at least. What a worker has counted since is lost with it."""


class AnswerCounter:
    """Safe to use from any number of threads."""

    def __init__(self, log: StepLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._block, self._version = Block(), 0
        self._due = 0.0
        self._writing: threading.Thread | None = None

    def answered(self, model_version: int, probabilities: FloatArray, pictures: int) -> None:
        """probabilities: (n, k), of the newest version; pictures: how many of the images came as pictures."""
        self._add(model_version, Block(len(probabilities), float(probabilities.max(axis=1).sum()), pictures))

    def refused(self, model_version: int) -> None:
        """A picture that shows no digit, or several."""
        self._add(model_version, Block(pictures=1, refused=1))

    def _add(self, model_version: int, block: Block) -> None:
        with self._lock:
            if not self._block.size:
                self._version = model_version
            self._block = total((self._block, block))
            if self._block.size < FEWEST_IMAGES or time.monotonic() < self._due:
                return
            taken, self._block, self._due = (self._version, self._block), Block(), time.monotonic() + SECONDS
            self._writing = threading.Thread(target=self._write, args=taken, name="answers", daemon=True)
            self._writing.start()

    def _write(self, model_version: int, block: Block) -> None:
        """Unless the model was loaded after the first of these answers, or the store can't be written to."""
        with contextlib.suppress(StoreError), self._log.writing() as writer:
            figures = AnswerFigures.of(writer.session)
            if figures.since <= model_version:
                figures.after(block).write(writer.session)

    def finish(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None:
            self._writing.join()
