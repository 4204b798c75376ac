"""Opening the file: settings, checks, migrations, and foreign errors made ours.

Nothing here, or anywhere in Waystation, opens the database, its `-wal` or its `-shm` file by any way but SQLite:
closing any descriptor of a file drops every POSIX lock that the process holds on it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw

from .._core.errors import (
    ConfigurationError,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    StoreVersion,
    TransportError,
)
from .._core.limits import STORE_BUSY_S, WAL_CHECKPOINT_BYTES
from .schema import APPLICATION_ID, MIGRATIONS, PAGE_BYTES, VERSION

#: First SQLite without the WAL-reset bug (3.7.0 to 3.51.2), which can corrupt a file that several processes write;
#: the fix was also given to 3.44.6 and 3.50.7.
_SAFE_SQLITE = (3, 51, 3)
_SAFE_BACKPORTS = ((3, 44, 6), (3, 50, 7))

_UMASK = threading.Lock()

#: File systems on which SQLite's shared memory does not work, as the kernel names them.
_NETWORK_FILE_SYSTEMS = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "smb",
    "9p",
    "afs",
    "afpfs",
    "webdav",
    "ceph",
    "lustre",
)
_NETWORK_FUSE = (
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.cephfs",
    "osxfuse",
    "macfuse",
)


def check_sqlite(version: tuple[int, ...]) -> None:
    """Refuse a SQLite library that may corrupt a file shared by several processes.

    Raises:
        StoreVersion: With the version that is needed.
    """
    backported = any(version[:2] == fixed[:2] and version >= fixed for fixed in _SAFE_BACKPORTS)
    if version < _SAFE_SQLITE and not backported:
        shown = ".".join(map(str, version))
        raise StoreVersion(
            f"SQLite {shown} can corrupt a file that several processes write (WAL-reset bug): pip install -U apsw"
        )


def file_system_of(path: Path) -> str:
    """Return the name of the file system that holds `path`, as the kernel says it; empty if it does not say."""
    try:
        table = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
        mounts = [
            (fields[1].replace("\\040", " "), fields[2])
            for fields in map(str.split, table)
            if len(fields) > 2
        ]
    except OSError:
        mounts = _mounts_of_macos()
    real = os.path.realpath(path)
    holding = [(point, kind) for point, kind in mounts if _is_below(real, point)]
    holding.reverse()  # of two mounts on one point the later one counts
    return max(holding, key=lambda mount: len(mount[0]), default=("", ""))[1]


def check_file_system(path: Path, kind: str) -> None:
    """Refuse a network file system.

    Raises:
        ConfigurationError: With the way out.
    """
    if kind in _NETWORK_FILE_SYSTEMS or kind in _NETWORK_FUSE:
        raise ConfigurationError(
            f"{path} is on a network file system ({kind}), where SQLite loses data: put it on a local disk, and give "
            "other hosts access through a broker's URL"
        )


def create(path: Path) -> None:
    """Make the database if it is not there, check it if it is, and bring it to this version. Safe in many processes.

    Raises:
        ConfigurationError: Its folder is missing, or on a network file system.
        StoreVersion: It was written by a newer Waystation.
        StoreCorrupt: It is not a database, or not ours, or damaged.
        StoreUnavailable: It cannot be opened or stayed locked.
    """
    check_sqlite(tuple(int(part) for part in apsw.sqlite_lib_version().split(".")))
    if not path.parent.is_dir():
        raise ConfigurationError(
            f"the folder {path.parent} does not exist: make it first, or change the URL's path"
        )
    check_file_system(path, file_system_of(path.parent))
    with translated(path):
        with _private_umask():
            connection = apsw.Connection(str(path))
        try:
            set_patience(connection, patient=True)
            _migrate(connection, path)
        finally:
            connection.close()
    _flush_folder(path.parent)


def connect(path: Path, *, patient: bool, on_long_wal: Callable[[], None] | None = None) -> apsw.Connection:
    """Open a connection with Waystation's settings.

    Its commits survive the death of processes; whoever promises more flushes the write-ahead log after them.

    Args:
        patient: Whether to wait up to `STORE_BUSY_S` for the write lock, or to raise `apsw.BusyError` at once.
        on_long_wal: Called after a commit that leaves the write-ahead log at `WAL_CHECKPOINT_BYTES` or more.

    Raises:
        StoreUnavailable: It cannot be opened.
        StoreCorrupt: It is not a database any more.
    """
    with translated(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        set_patience(connection, patient=True)  # who opens the file first may be rebuilding the log's index
        connection.pragma("synchronous", "NORMAL")
        connection.pragma("foreign_keys", "ON")
        connection.pragma("trusted_schema", "OFF")
        connection.pragma("mmap_size", 0)
        connection.pragma("temp_store", "MEMORY")
        # Else a SQLite that can keep statistics plans a statement anew whenever its values change, though it is cached:
        # ten times the cost of running it.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.wal_autocheckpoint(0)  # maintenance.py does it, beside the work and not in it
        if on_long_wal is not None:
            connection.set_wal_hook(_wal_hook(on_long_wal))
        set_patience(connection, patient=patient)
        return connection


def set_patience(connection: apsw.Connection, *, patient: bool, limit_s: float | None = None) -> None:
    """Choose whether a connection waits for locks, at most `limit_s` (`STORE_BUSY_S`), or raises `apsw.BusyError`."""
    connection.set_busy_handler(_patient(STORE_BUSY_S if limit_s is None else limit_s) if patient else None)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Make SQLite's errors ours, `apsw.BusyError` too: whoever wants that one catches it inside."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, path) from error


def translate(error: apsw.Error, path: Path) -> StoreError | TransportError:
    """Return our error for one of SQLite's, with what to do about it."""
    text = str(error)
    if isinstance(error, (apsw.NotADBError, apsw.CorruptError)):
        return StoreCorrupt(
            f"{path} is damaged or not a database ({text}): stop every process that uses it, keep a copy of it with "
            "its -wal file, and restore a backup or move it away to start anew"
        )
    if isinstance(error, apsw.FullError):
        return StoreUnavailable(
            f"the disk of {path} is full: free some space; nothing that was confirmed is lost"
        )
    if isinstance(error, apsw.BusyError):
        return StoreUnavailable(
            f"{path} stayed locked for {STORE_BUSY_S:g} s: some process holds a write transaction open"
        )
    if isinstance(error, (apsw.CantOpenError, apsw.PermissionsError, apsw.ReadOnlyError)):
        return StoreUnavailable(
            f"{path} cannot be opened for writing ({text}): check its folder's owner and mode"
        )
    return StoreUnavailable(f"{path}: {type(error).__name__}: {text}")


def _migrate(connection: apsw.Connection, path: Path) -> None:
    _check_owner(connection, path)
    found = connection.pragma("user_version")
    if found == VERSION and connection.pragma("application_id") == APPLICATION_ID:
        return
    if found == 0 and not connection.pragma("schema_version"):
        connection.pragma("page_size", PAGE_BYTES)
        connection.pragma("auto_vacuum", "INCREMENTAL")
    _use_write_ahead_log(connection, path)
    connection.pragma("synchronous", "FULL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = connection.pragma("user_version")  # another process may have been first
        _check_owner(connection, path)
        if found > VERSION:
            raise StoreVersion(
                f"{path} has schema {found}, this Waystation knows up to {VERSION}: pip install -U waystation"
            )
        for step in MIGRATIONS[found:]:
            connection.execute(step)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", VERSION)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _use_write_ahead_log(connection: apsw.Connection, path: Path) -> None:
    wait = _patient(STORE_BUSY_S)  # by hand: SQLite asks no busy handler when it changes the journal
    for tries in itertools.count():
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if not wait(tries):
                raise
        else:
            break
    if mode != "wal":
        raise StoreUnavailable(f"{path}: this file system does not support SQLite's write-ahead log")


def _check_owner(connection: apsw.Connection, path: Path) -> None:
    """Refuse another program's database, before anything in it is changed."""
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if tables and connection.pragma("application_id") != APPLICATION_ID:
        raise StoreCorrupt(f"{path} is a database of another program: choose another path in the URL")


def _wal_hook(on_long_wal: Callable[[], None]) -> Callable[[apsw.Connection, str, int], int]:
    def committed(_connection: apsw.Connection, _database: str, pages: int) -> int:
        if pages * PAGE_BYTES >= WAL_CHECKPOINT_BYTES:
            on_long_wal()
        return apsw.SQLITE_OK

    return committed


def _patient(limit_s: float) -> Callable[[int], bool]:
    """Return a busy handler that polls the lock quickly at first: a commit holds it for a fraction of a millisecond.

    SQLite's own handler sleeps 1, 2, 5, 10 ... ms, several times a commit's length. It runs in worker threads only.
    """
    started = 0.0

    def wait(tries: int) -> bool:
        nonlocal started
        now = time.monotonic()
        if tries == 0:
            started = now
        if now - started > limit_s:
            return False
        pause = 0.0001 if tries < 50 else 0.001 if tries < 500 else 0.01
        time.sleep(pause * (0.5 + random.random()))
        return True

    return wait


@contextlib.contextmanager
def _private_umask() -> Iterator[None]:
    """Create files for this user only. The umask is the whole process's, so threads take turns."""
    with _UMASK:
        previous = os.umask(0o077)
        try:
            yield
        finally:
            os.umask(previous)


def _flush_folder(folder: Path) -> None:
    """Make the new file's name survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mounts_of_macos() -> list[tuple[str, str]]:
    try:
        listing = subprocess.run(
            ["/sbin/mount"], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except OSError:
        return []
    mounts = []
    for line in listing.splitlines():
        point, _, kind = line.partition(" on ")[2].rpartition(" (")
        mounts.append((point, kind.partition(",")[0].rstrip(")")))
    return mounts


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")
