"""How the tables of an older release are brought to this one's, within one transaction."""

from collections.abc import Callable

from service.store.database import Session

MIGRATIONS: dict[int, Callable[[Session], int]] = {}
"""For each schema version of a release, a function that leads to a later one and returns its number."""
