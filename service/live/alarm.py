"""When the running accuracy has fallen too far, and what is done then."""

from dataclasses import dataclass
from typing import Literal

from service.store.progress import Row


@dataclass(frozen=True)
class Alarm:
    """act: what it does; points: percentage points below the best at which it does it; examples: the labelled examples
    over which the running accuracy is taken, and that there have to be first."""

    act: Literal["off", "pause", "rollback"] = "off"
    points: float = 10.0
    examples: int = 1000

    def raised_by(self, row: Row) -> str | None:
        """Why there is an alarm after a step; None where there is none."""
        if self.act == "off" or row.accuracy is None or row.best_accuracy is None:
            return None
        fallen = 100 * (row.best_accuracy - row.accuracy)
        if fallen <= self.points:
            return None
        return (
            f"the accuracy over the last {self.examples} labelled examples fell to {row.accuracy:.1%}, {fallen:.1f} "
            f"points below its best, {row.best_accuracy:.1%} at version {row.best_version}"
        )
