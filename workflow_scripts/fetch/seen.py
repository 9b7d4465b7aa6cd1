"""What was hashed before: a small SQLite file beside a manifest, so that no file is read twice.

A cache and nothing else: a result is the same with it, without it, and with a damaged one. A file
whose size and time of change are those that were seen then is not read again. What was stored stays
after a SIGKILL; a file that is damaged, or of another version, is made anew.
"""

import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.folder import FoundFile
from workflow_scripts.fetch.hashing import Content, Hashed
from workflow_scripts.logs import log

VERSION = 2
_TABLE = (
    "CREATE TABLE seen (path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, "
    "sha256 BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID"
)
_COMMIT_ROWS, _COMMIT_SECONDS = 4096, 2.0

# A file may change again within the tick of its file system's clock, and keep its time: one that
# was read so soon after its change is not believed. FAT ticks every 2 s, the others faster; the
# rest is for the clocks of a file server and of this host.
RACY_NS = 3_000_000_000


def seen_beside(manifest: Path) -> Path:
    """Where the cache of a manifest lies."""
    return manifest.with_name(f".{manifest.stem}.seen.sqlite")


class Seen:
    """The cache, open; used as a context manager.

    One process at a time uses it: who fetches holds the lock of the manifest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._added: list[tuple[str, int, int, bytes, int]] = []
        self._current = 0  # rows of files of this run
        self._last = time.monotonic()
        self._open()

    def __enter__(self) -> "Seen":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._commit()
        finally:
            self._db.close()

    def known(self, files: Sequence[FoundFile]) -> list[Content | None]:
        """What each file holds if it was read before and has not changed since."""
        if not self._rows:
            return [None] * len(files)
        rows: dict[str, tuple[int, int, bytes, int]] = {}
        marks = ",".join("?" * len(files))
        with self._mended():
            for path, *row in self._db.execute(
                f"SELECT path, bytes, mtime_ns, sha256, sum FROM seen WHERE path IN ({marks})",
                [_key(file.path) for file in files],
            ):
                rows[path] = tuple(row)
        found = [_unchanged(file, rows.get(_key(file.path))) for file in files]
        self._current += len(found) - found.count(None)
        return found

    def add(self, one: Hashed) -> None:
        """Remember what was read, if it can be told later whether the file changed."""
        file, content = one.file, one.content
        if (
            one.at is None
            or isinstance(content, str)
            or content[1] != file.bytes  # it changed while it was read
            or file.mtime_ns > one.at - RACY_NS
        ):
            return
        sha256 = content[0]
        row = (_key(file.path), file.bytes, file.mtime_ns, sha256, _sum(file, sha256))
        self._added.append(row)
        self._current += 1
        if len(self._added) >= _COMMIT_ROWS or time.monotonic() - self._last > _COMMIT_SECONDS:
            self._commit()

    def keep_only(self, paths: Iterable[str]) -> None:
        """Forget files that are no longer there.

        Args:
            paths: Of the files of this run, all of which were asked for or added.
        """
        self._commit()
        with self._mended():
            (rows,) = self._db.execute("SELECT count(*) FROM seen").fetchone()
            if rows <= self._current:
                return
            self._db.execute("CREATE TEMP TABLE there (path TEXT PRIMARY KEY) WITHOUT ROWID")
            self._db.executemany(
                "INSERT OR IGNORE INTO there VALUES (?)", ((_key(path),) for path in paths)
            )
            self._db.execute("DELETE FROM seen WHERE path NOT IN (SELECT path FROM there)")
            self._db.commit()

    def _commit(self) -> None:
        with self._mended():
            self._insert()
        self._insert()  # into a new file, if the other one was damaged
        self._last = time.monotonic()

    def _insert(self) -> None:
        if self._added:
            self._db.executemany("INSERT OR REPLACE INTO seen VALUES (?,?,?,?,?)", self._added)
            self._db.commit()
            self._added.clear()

    def _open(self) -> None:
        """Open the file, or make it anew if it is none of this version, or damaged."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connect()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            tables = self._db.execute("SELECT sql FROM sqlite_master").fetchall()
            if (version, tables) == (VERSION, [(_TABLE,)]):
                (self._rows,) = self._db.execute("SELECT count(*) FROM seen").fetchone()
                return
            damaged = bool(tables or version)
        except sqlite3.Error as error:
            _refuse_unless_damaged(error, self.path)
            damaged = True
        self._db.close()
        if damaged:
            self._remove("of another version or damaged")
        self._make()

    def _connect(self) -> None:
        self._db = sqlite3.connect(self.path)
        # The kernel keeps what a killed process wrote; after a crash of the host, rows that are not
        # whole are told by their sum, and files are read again.
        self._db.execute("PRAGMA synchronous = OFF")

    def _make(self) -> None:
        self._rows = 0
        try:
            self._connect()
            with self._db:
                self._db.execute("BEGIN")
                self._db.execute(_TABLE)
                self._db.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error as error:
            raise _cannot(error, self.path) from None

    def _remove(self, why: str) -> None:
        log.info("%s is %s: it is made anew, and every file read again", self.path, why)
        self._db.close()
        self.path.unlink(missing_ok=True)
        self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)

    @contextmanager
    def _mended(self) -> Iterator[None]:
        """Go on with an empty cache if the file shows itself to be damaged."""
        try:
            yield
        except sqlite3.Error as error:
            _refuse_unless_damaged(error, self.path)
            self._remove("damaged")
            self._make()


def _refuse_unless_damaged(error: sqlite3.Error, path: Path) -> None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # less what says which kind of it
    if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        raise _cannot(error, path) from None


def _cannot(error: sqlite3.Error, path: Path) -> UserError:
    return UserError(
        f"{path}: the file of what was read before cannot be used ({error}); make room, or mend "
        "its folder, and start again (it may be deleted: then every file is read again)"
    )


def _unchanged(file: FoundFile, row: tuple[int, int, bytes, int] | None) -> Content | None:
    if row is None or row[:2] != (file.bytes, file.mtime_ns):
        return None
    if row[3] != _sum(file, row[2]):  # a crash of the host, or the disk, changed the row
        return None
    return row[2], file.bytes


def _key(path: str) -> str:
    """A path as SQLite takes it, where a name is not UTF-8."""
    return path if path.isascii() else path.encode("utf-8", "backslashreplace").decode()


def _sum(file: FoundFile, sha256: bytes) -> int:
    # With the checksum that an archive has of its member: one put in its place tells itself so.
    path, size, mtime_ns, crc32 = file[1:]
    told = f"{path}\0{size}\0{mtime_ns}\0{crc32}\0"
    return zlib.crc32(told.encode(errors="replace") + sha256)
