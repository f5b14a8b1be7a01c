"""The newest version is known without a question to SQLite as long as nobody has written, and at once when somebody has,
whatever becomes of the file and of the processes that write it."""

import random
import sqlite3
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from service.errors import StoreReplacedError
from service.store import wal_index
from service.store.sqlite import Connection, SqliteDatabase
from service.store.sqlite_file import sibling
from tests.conftest import behind_the_back

WRITER = """
import sqlite3, sys
KINDS = "PASSIVE", "FULL", "RESTART", "TRUNCATE"
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("PRAGMA synchronous=OFF")

def write():
    connection.execute("BEGIN IMMEDIATE")
    newest = connection.execute("SELECT max(model_version) FROM versions").fetchone()[0] + 1
    connection.execute("INSERT INTO versions VALUES (?, randomblob(5000))", [newest])
    connection.execute("COMMIT")
    return newest

"""

ON_AND_ON = (
    WRITER
    + """
while True:
    if (version := write()) % 50 == 0:
        connection.execute(f"PRAGMA wal_checkpoint({KINDS[version // 50 % 4]})")
"""
)

WHEN_ASKED = (
    WRITER
    + """
for line in sys.stdin:
    print(write(), flush=True)
"""
)

READER = """
import sys
from pathlib import Path
from service.store.sqlite import SqliteDatabase
database = SqliteDatabase(Path(sys.argv[1]))
for line in sys.stdin:
    print(database.head(), flush=True)
"""


class Process(NamedTuple):
    handle: subprocess.Popen[str]
    stdin: IO[str]
    stdout: IO[str]

    def ask(self) -> str:
        self.stdin.write("\n")
        return self.stdout.readline()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "store.db")
    with database.opening(), database.writing() as session:
        session.run("CREATE TABLE versions (model_version INTEGER PRIMARY KEY, data BLOB)")
        session.run("INSERT INTO versions (model_version) VALUES (1)")
    yield database
    database.close()


def write(path: Path, version: int) -> None:
    with behind_the_back(path) as connection:
        connection.execute("INSERT INTO versions (model_version) VALUES (?)", [version])


@contextmanager
def asked(database: SqliteDatabase) -> Iterator[list[str]]:
    """What SQLite is asked meanwhile, on the only connection."""
    (connection,) = database._idle
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    yield statements
    connection.set_trace_callback(None)


@contextmanager
def process(code: str, path: Path) -> Iterator[Process]:
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        yield Process(started, started.stdin, started.stdout)
        started.kill()


def test_sqlite_is_asked_only_after_a_change(database: SqliteDatabase) -> None:
    assert database.head() == 1
    with asked(database) as statements:
        assert {database.head() for _ in range(100)} == {1}
        assert statements == []
        write(database.path, 2)
        assert [database.head(), database.head()] == [2, 2]
        assert len(statements) == 1


def test_what_is_committed_while_sqlite_is_asked_is_seen_the_next_time(database: SqliteDatabase) -> None:
    class Interrupted(list[Connection]):
        def append(self, connection: Connection) -> None:
            super().append(connection)
            write(database.path, len(versions) + 2)

    database._idle = Interrupted(database._idle)
    versions: list[int] = []
    for _ in range(5):
        versions.append(database.head())
    assert versions == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
def test_a_commit_is_seen_after_a_checkpoint(database: SqliteDatabase, kind: str) -> None:
    for version in range(2, 30):
        with behind_the_back(database.path) as connection:
            connection.execute(f"PRAGMA wal_checkpoint({kind})")
            assert database.head() == version - 1
            connection.execute("INSERT INTO versions (model_version) VALUES (?)", [version])
            assert database.head() == version
            connection.execute(f"PRAGMA wal_checkpoint({kind})")
            assert database.head() == version


def test_what_was_committed_is_seen_by_every_process_though_writers_are_killed(database: SqliteDatabase) -> None:
    """A version that was committed is known to this process and to another one, while two others write without a pause,
    make checkpoints of every kind, and are killed and replaced again and again."""
    chosen = random.Random(0)
    with ExitStack() as running:
        reader = running.enter_context(process(READER, database.path))
        writer = running.enter_context(process(WHEN_ASKED, database.path))
        others = [running.enter_context(process(ON_AND_ON, database.path)) for _ in range(2)]
        for _ in range(150):
            version = int(writer.ask())
            assert database.head() >= version
            assert int(reader.ask()) >= version
            if chosen.random() < 0.03:
                others.pop(0).handle.kill()
                others.append(running.enter_context(process(ON_AND_ON, database.path)))
    with database.reading() as session:
        assert session.run("SELECT max(model_version) FROM versions").fetchone()[0] == database.head() > 151
        assert session.run("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_header_that_was_left_half_written_is_recovered(database: SqliteDatabase) -> None:
    """As by a process that died between the two copies: SQLite has to be asked, and rebuilds the index from the log."""
    write(database.path, 2)
    assert database.head() == 2
    write(database.path, 3)
    with process("import sys\nwith open(sys.argv[1], 'r+b') as f: f.write(bytes(range(48)))", index_of(database)) as it:
        assert it.handle.wait() == 0
    assert database.head() == 3
    write(database.path, 4)
    with asked(database) as statements:
        assert [database.head(), database.head()] == [4, 4]
        assert len(statements) == 1


def index_of(database: SqliteDatabase) -> Path:
    return sibling(database.path, "shm")


def test_a_connection_that_was_let_go_leaves_no_index_behind(database: SqliteDatabase) -> None:
    """SQLite removes the file with the last connection, and the next one makes another."""
    for version in range(2, 6):
        assert database.head() == version - 1
        database.release()
        assert not index_of(database).exists()
        assert not [name for name in opened_files() if name.startswith(str(index_of(database)))]
        write(database.path, version)
        assert database.head() == version
        with asked(database) as statements:
            assert database.head() == version
            assert statements == []


def opened_files() -> list[str]:
    names = []
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing itself
            names.append(str(number.readlink()))
    return names


def test_the_locks_of_sqlite_outlive_another_reader_in_the_process(database: SqliteDatabase) -> None:
    """A second database object on the file comes and goes: closing its index must not give up the first one's locks,
    or another process would take the database for unused, and remove its log."""
    assert database.head() == 1
    other = SqliteDatabase(database.path)
    assert other.head() == 1
    other.close()
    done = subprocess.run([sys.executable, "-c", UNUSED, str(index_of(database))], check=True, capture_output=True)
    assert done.stdout == b"in use\n"


UNUSED = """
import fcntl, sys
DEADMAN_SWITCH = 128
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, DEADMAN_SWITCH)
        print("unused")
    except OSError:
        print("in use")
"""


def test_a_connection_that_is_opened_while_an_index_is_finalised_keeps_its_locks(database: SqliteDatabase) -> None:
    """Closing a file gives up all locks of the process on it, so the index must not be closed while another connection
    is being opened: here, by what runs as its last reference goes."""
    other = SqliteDatabase(database.path)
    released: list[bool] = []
    with process(WHEN_ASKED, database.path) as somebody:  # so that SQLite keeps the index's file
        assert database.head() == 1
        assert int(somebody.ask()) == 2
        (connection,) = database._idle
        assert connection.index is not None
        weakref.finalize(connection.index, lambda: released or other.head())
        del connection
        database.release()
        released.append(True)
        assert other.head() == 2
    done = subprocess.run([sys.executable, "-c", UNUSED, str(index_of(database))], check=True, capture_output=True)
    assert done.stdout == b"in use\n"
    other.close()


def test_where_there_is_no_index_sqlite_is_asked_every_time(database: SqliteDatabase) -> None:
    assert wal_index.map_index(database.path.with_name("none"), object()) is None
    database.release()
    assert database.head() == 1
    (connection,) = database._idle
    connection.index = database._seen = None
    with asked(database) as statements:
        assert [database.head(), database.head()] == [1, 1]
        assert len(statements) == 2
        write(database.path, 2)
        assert database.head() == 2


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_store_that_was_taken_away_takes_no_more_and_goes_on_from_what_is_known(
    database: SqliteDatabase, how: str
) -> None:
    assert database.head() == 1
    with sqlite3.connect(database.path.with_name("other.db")) as other:
        other.execute("CREATE TABLE versions (model_version INTEGER PRIMARY KEY)")
        other.execute("INSERT INTO versions VALUES (77)")
    other.close()
    for name in ("wal", "shm"):
        sibling(database.path, name).unlink()
    if how == "removed":
        database.path.unlink()
    else:
        database.path.with_name("other.db").replace(database.path)
    assert database.head() == 1
    assert database.serves_without_store()
    with pytest.raises(StoreReplacedError), database.writing():
        pass
    assert database.head() == 1
