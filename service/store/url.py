"""Which database a store's URL names, and where its models are."""

import os
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from service.errors import StartupError
from service.store.database import Database
from service.store.model_folder import ModelFolder
from service.store.model_stores import ModelStores
from service.store.sqlite import SqliteDatabase

ON_POSTGRES = "the store is on PostgreSQL: use pg_dump to back it up and pg_restore to restore it"
AT_SIGN = ": in a user name or password, write @ as %40, : as %3A and / as %2F"


def database_at(url: str, connections: int) -> Database:
    """connections: at most this many per process, where the database is a server. Raises StartupError."""
    parsed = parsed_url(url)
    if parsed.get_backend_name() == "sqlite":
        return SqliteDatabase(sqlite_path(url))
    try:
        from service.store.postgres import Connections, PostgresDatabase
    except ImportError:
        raise StartupError(
            "a store on PostgreSQL needs the extra postgres: install twolayernet-service[postgres]"
        ) from None
    return PostgresDatabase(Connections(parsed, connections))


def model_stores(database: Database, models: Path, most_bytes: int | None = None) -> ModelStores:
    """The stores of the models under /models. database: the default's; models: the value of the setting;
    most_bytes: limit for the size of each store, on SQLite.

    Raises StartupError.
    """
    if isinstance(database, SqliteDatabase):
        return ModelFolder(models, most_bytes)
    from service.store.model_schemas import ModelSchemas
    from service.store.postgres import PostgresDatabase

    assert isinstance(database, PostgresDatabase)
    return ModelSchemas(database.connections, str(models))


def sqlite_path(url: str) -> Path:
    """The file that an SQLite URL names. Symbolic links are resolved, so that a store has one lock under any name.

    Raises StartupError.
    """
    parsed = parsed_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise StartupError(ON_POSTGRES)
    if parsed.drivername != "sqlite":
        raise StartupError(f"the store's URL names the driver {parsed.drivername}: use sqlite:///path/to/file.db")
    if parsed.query:
        raise StartupError(f"the store's URL has the option {next(iter(parsed.query))!r}: SQLite URLs have no options")
    if not parsed.database or parsed.database == ":memory:":
        raise StartupError("the store needs a file: worker processes can't share a database in memory")
    return Path(os.path.realpath(parsed.database))


def parsed_url(url: str) -> URL:
    """Raises StartupError for anything but the URL of a supported database."""
    shown = without_password(url)
    try:
        parsed = make_url(url)
    except ValueError:
        raise StartupError(f"the store's URL {shown!r} has a port that is not a number{AT_SIGN}") from None
    except ArgumentError:
        raise StartupError(
            f"the store (--store, TWOLAYERNET_STORE) is {shown!r}: expected a database URL, such as "
            "sqlite:///path/to/file.db"
        ) from None
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise StartupError(f"the store's database {backend} is not supported: use sqlite or postgresql")
    if backend == "postgresql" and url.partition("?")[0].count("@") > 1:
        raise StartupError(f"the store's URL {shown!r} has more than one @{AT_SIGN}")
    return parsed


def without_password(url: str) -> str:
    """What may be shown of a text that should be a URL: nothing between the scheme and the last @, nor after a ?."""
    scheme, at_sign, rest = url.rpartition("@")
    shown = rest.partition("?")[0]
    return f"{scheme.partition('//')[0].partition(':')[0]}://***@{shown}" if at_sign else shown
