"""What the routes work with."""

from dataclasses import dataclass

from service.live.answer_counter import AnswerCounter
from service.live.drift_alarm import Alarm
from service.live.history import History
from service.live.label_queue import LabelQueue
from service.live.label_review import LabelReview
from service.live.learner import Learner
from service.live.replica import Replica
from service.live.unlearning import Unlearning
from service.settings import Settings
from service.store.log import StepLog
from service.store.predictions import DAY_SECONDS, Limits


@dataclass(frozen=True)
class Service:
    """The model that learns: its log, this process's replica, what writes new versions, what takes train-steps out of
    it, the predictions that are kept for labelling, the history, the review of learnt labels, and the figures of the
    answers."""

    settings: Settings
    log: StepLog
    replica: Replica
    learner: Learner
    unlearning: Unlearning
    label_queue: LabelQueue
    history: History
    label_review: LabelReview
    answers: AnswerCounter

    @classmethod
    def of(cls, log: StepLog, settings: Settings) -> "Service":
        """log: ready to be used. Raises StoreError."""
        replica = Replica(log, settings.max_staleness)
        replica.catch_up()
        limits = Limits(settings.remember_days * DAY_SECONDS, settings.remember_bytes)
        alarm = Alarm(settings.alarm, settings.alarm_false_every)
        learner = Learner(log, replica, settings.gradient_norm_limit, settings.memory_size, alarm=alarm, limits=limits)
        return cls(
            settings,
            log,
            replica,
            learner,
            Unlearning(log, replica, learner),
            LabelQueue(log, limits),
            History(log),
            LabelReview(log, replica),
            AnswerCounter(log),
        )

    def close(self) -> None:
        """Close the store, after the last request."""
        self.answers.finish()
        self.log.close()
