"""Real servers for tests: started when the first test asks, shared by the process's tests, ended by their numbers.

    def test_it(nats_server: Server) -> None:      # shared by all of them, so that no test breaks it
        Bus(nats_server.url)

    with own("redis", tmp_path, nodes=2) as server:   # one of a test's own, to be killed and frozen as it likes
        server.kill()
        again(server)

A server that this machine lacks is a reason to skip; with CI=true it is a failure. `make brokers` installs them.

A start takes longer than a test may, so it happens before the test's time begins: `pytest_runtest_protocol` sees which
fixtures the test will ask for, or that it asks by name, for a kind that is among its parameters.

When several processes share a run, each has servers of its own: what is said of a whole server holds in each. The
process that began the run ends them all, so that none outlives a process that crashed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests import shares
from waystation import ConfigurationError
from waystation._servers.desk import Server, down, means_of, up
from waystation._servers.kinds import KINDS, kind_of
from waystation._servers.machine import look
from waystation._servers.plan import KindName

__all__ = ["Server", "again", "kafka_server", "nats_server", "own", "rabbitmq_server", "redis_server"]


class Brokers:
    """The servers of one process that runs tests. Whoever made the folder ends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._there: dict[KindName, Server | Exception] = {}

    def start(self, kind: KindName) -> None:
        """Start a server, unless it was tried before; what goes wrong is told to whoever asks for it."""
        if kind not in self._there:
            try:
                self._there[kind] = up(kind_of(kind), self._folder / kind, port=0)
            except (ConfigurationError, OSError) as error:
                self._there[kind] = error

    def give(self, kind: KindName) -> Server:
        """Return a server, or skip the test that wants it; with CI=true, fail it."""
        self.start(kind)
        found = self._there[kind]
        if isinstance(found, Server):
            return found
        if isinstance(found, ConfigurationError):
            lacking(found)
        raise found


def end_all(folder: Path) -> None:
    """End the servers of all processes that shared a run."""
    for each in sorted(folder.glob("*/*")):
        with suppress(ConfigurationError):  # its folder could not be prepared: nothing was started
            down(each)


@contextmanager
def own(kind: KindName, folder: Path, *, nodes: int = 1, flush: bool = True) -> Iterator[Server]:
    """Give servers that only this test has. Needs more time than a test usually has: `@pytest.mark.timeout(120)`."""
    where = folder / kind
    try:
        means_of(kind_of(kind), look(kind_of(kind).programs))
    except ConfigurationError as error:
        lacking(error)
    try:
        yield up(kind_of(kind), where, port=0, nodes=nodes, flush=flush)
    finally:
        down(where)


def again(server: Server) -> Server:
    """Start those nodes of a server again that have ended, and wait until they can be used."""
    return up(kind_of(server.state.kind), server.folder)


def lacking(error: ConfigurationError) -> None:
    """Skip a test for want of a server; with CI=true, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{error} (make brokers)", pytrace=False)
    pytest.skip(f"{error} (make brokers)")


def pytest_configure(config: pytest.Config) -> None:
    """Have a place for the run's servers, and end them with it."""
    folder = Path(tempfile.gettempdir(), "servers")  # the run's own: see conftest.py
    config.stash[_BROKERS] = Brokers(folder / shares.process_of(config))
    if not shares.is_one_of_several(config):
        config.add_cleanup(partial(end_all, folder))


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Start what a test will ask for, before its time begins."""
    wanted = getattr(item, "fixturenames", ())
    call = getattr(item, "callspec", None)
    by_name = call.params.values() if call is not None and "request" in wanted else ()
    for kind in KINDS:
        if f"{kind}_server" in wanted or kind in by_name:
            item.config.stash[_BROKERS].start(kind)
    return (yield)


@pytest.fixture(scope="session")
def nats_server(pytestconfig: pytest.Config) -> Server:
    return pytestconfig.stash[_BROKERS].give("nats")


@pytest.fixture(scope="session")
def rabbitmq_server(pytestconfig: pytest.Config) -> Server:
    return pytestconfig.stash[_BROKERS].give("rabbitmq")


@pytest.fixture(scope="session")
def kafka_server(pytestconfig: pytest.Config) -> Server:
    return pytestconfig.stash[_BROKERS].give("kafka")


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> Server:
    return pytestconfig.stash[_BROKERS].give("redis")


_BROKERS = pytest.StashKey[Brokers]()
