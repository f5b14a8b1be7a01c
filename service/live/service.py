"""What the routes work with."""

from dataclasses import dataclass

from service.live.history import History
from service.live.learner import Learner
from service.live.replica import Replica
from service.live.waiting import Waiting
from service.settings import Settings
from service.store.log import StepLog


@dataclass(frozen=True)
class Service:
    """The model that learns: its log, this process's copy of it, what makes new versions, and the predictions that
    wait for labels, and what there has been."""

    settings: Settings
    log: StepLog
    replica: Replica
    learner: Learner
    waiting: Waiting
    history: History

    def close(self) -> None:
        """Let the store go, when nothing more is asked."""
        self.log.close()
