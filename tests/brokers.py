"""Real servers for tests: started when the first test asks, shared by the run, ended by their numbers with it.

    def test_it(nats_server: Server) -> None:      # one for the whole run, that no test breaks
        Bus(nats_server.url)

    with own("redis", tmp_path, nodes=2) as server:   # one of a test's own, to be killed and frozen as it likes
        server.kill()
        again(server)

A server that this machine lacks is a reason to skip; with CI=true it is a failure. `make brokers` installs them.

A start takes longer than a test may, so it happens before the test's time begins: `pytest_runtest_protocol` sees which
fixtures the test will ask for.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from waystation import ConfigurationError
from waystation._servers.desk import Server, down, means_of, up
from waystation._servers.kinds import KINDS, kind_of
from waystation._servers.machine import look
from waystation._servers.plan import KindName

__all__ = ["Server", "again", "kafka_server", "nats_server", "own", "rabbitmq_server", "redis_server"]


class Brokers:
    """The servers of one run of the tests."""

    def __init__(self) -> None:
        self._there: dict[KindName, Server | Exception] = {}

    def start(self, kind: KindName) -> None:
        """Start a server, unless it was tried before; what goes wrong is told to whoever asks for it."""
        if kind not in self._there:
            try:
                self._there[kind] = up(kind_of(kind), Path(tempfile.mkdtemp(prefix=f"{kind}-")), port=0)
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

    def end(self) -> None:
        """End all that were started."""
        for found in self._there.values():
            if isinstance(found, Server):
                down(found.folder)
        self._there.clear()


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
    config.stash[_BROKERS] = brokers = Brokers()
    config.add_cleanup(brokers.end)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Start what a test will ask for, before its time begins."""
    wanted = getattr(item, "fixturenames", ())
    for kind in KINDS:
        if f"{kind}_server" in wanted:
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
