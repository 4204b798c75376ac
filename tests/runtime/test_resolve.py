"""From a URL to its transport, and from a topic to its URL."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from waystation._core.errors import ConfigurationError
from waystation._core.url import TransportURL, parse_url
from waystation._runtime import resolve
from waystation._runtime.resolve import Routes, find_transport
from waystation.testing import VirtualClock


@pytest.mark.parametrize(("url", "name"), [("memory://", "memory"), ("sqlite:///shop.db", "sqlite")])
def test_a_scheme_has_its_transport(url: str, name: str) -> None:
    assert find_transport(parse_url(url), clock=VirtualClock()).capabilities.name == name


@pytest.mark.parametrize(("url", "near"), [("sqllite:///shop.db", "sqlite"), ("mem://", "memory")])
def test_an_unknown_scheme_is_refused_with_the_nearest_there_is(url: str, near: str) -> None:
    with pytest.raises(ConfigurationError, match=f"did you mean '{near}'"):
        find_transport(parse_url(url), clock=VirtualClock())


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no option 'size'"):
        find_transport(parse_url("memory://?size=1"), clock=VirtualClock())


def test_a_transport_from_elsewhere_joins_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(*, group: str) -> list[EntryPoint]:
        return [EntryPoint("pigeon", f"{__name__}:pigeon", group)]

    monkeypatch.setattr(resolve, "entry_points", installed)
    monkeypatch.setattr(EntryPoint, "load", lambda _: pigeon)
    found: Any = find_transport(parse_url("pigeon://loft"), clock=VirtualClock())
    assert found == "a transport to pigeon://loft"
    with pytest.raises(ConfigurationError, match="nats://, pigeon://, redis://"):
        find_transport(parse_url("x://y"), clock=VirtualClock())


def pigeon(url: TransportURL, *, clock: VirtualClock) -> str:
    return f"a transport to {url}"


def test_one_url_carries_everything() -> None:
    routes = Routes("memory://")
    assert [str(url) for url in routes.urls] == ["memory://"]
    assert routes.of_topic("orders.placed") == 0
    assert routes.of_pattern("#") == (0,)


def test_the_most_specific_pattern_wins() -> None:
    routes = Routes({"#": "sqlite:///a.db", "rpc.#": "memory://", "rpc.slow.*": "sqlite:///a.db"})
    assert [str(url) for url in routes.urls] == ["sqlite:///a.db", "memory://"]
    assert routes.of_topic("orders") == 0
    assert routes.of_topic("rpc.quote") == 1
    assert routes.of_topic("rpc.slow.quote") == 0
    assert routes.of_topic("rpc.slow.quote.now") == 1


def test_a_pattern_may_reach_over_several_urls() -> None:
    routes = Routes({"#": "sqlite:///a.db", "rpc.#": "memory://", "audit.*": "sqlite:///b.db"})
    assert routes.of_pattern("rpc.*") == (1,)
    assert routes.of_pattern("orders.#") == (0,)
    assert routes.of_pattern("audit.x") == (2,)
    assert set(routes.of_pattern("#")) == {0, 1, 2}
    assert set(routes.of_pattern("audit.#")) == {0, 2}


def test_a_topic_without_a_url_is_refused() -> None:
    routes = Routes({"rpc.#": "memory://"})
    with pytest.raises(ConfigurationError, match="add '#' for the rest"):
        routes.of_topic("orders")
    with pytest.raises(ConfigurationError, match="no URL carries"):
        routes.of_pattern("orders.*")


@pytest.mark.parametrize("urls", [{}, {"a..b": "memory://"}, {"#": "memory"}, "shop.db"])
def test_impossible_routes_are_refused(urls: dict[str, str] | str) -> None:
    with pytest.raises(ConfigurationError):
        Routes(urls)
