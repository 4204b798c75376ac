"""URLs: read strictly, shown without secrets."""

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waystation._core.errors import ConfigurationError
from waystation._core.url import did_you_mean, parse_address, parse_url, redact

secrets = st.text("hunter2", min_size=1, max_size=8).map(lambda text: f"QQ{text}QQ")
hosts = st.text("abcdef.", min_size=1, max_size=10).filter(lambda host: "@" not in host)


@pytest.mark.parametrize(
    ("text", "scheme", "path"),
    [
        ("sqlite:///shop.db", "sqlite", "shop.db"),
        ("sqlite:////var/shop.db", "sqlite", "/var/shop.db"),
        ("memory://", "memory", ""),
        ("SQLite:///shop.db?settle=flushed", "sqlite", "shop.db"),
        ("zmq+tcp://host:1", "zmq+tcp", ""),
    ],
)
def test_a_url_has_a_scheme_and_a_path(text: str, scheme: str, path: str) -> None:
    url = parse_url(text)
    assert (url.scheme, url.path) == (scheme, path)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:///shop.db",
        "sqlite:////var/shop.db?settle=flushed",
        "memory://",
        "tcp://host:1/a?b=c&d=",
        "sqlite:////srv/me@home/a:b",
    ],
)
def test_a_url_without_secrets_is_shown_as_it_was_written(text: str) -> None:
    assert str(parse_url(text)) == redact(text) == text
    assert repr(parse_url(text)) == f"TransportURL({text!r})"


def test_options_are_read_once_each() -> None:
    assert parse_url("a://b?x=1&y=").options == {"x": "1", "y": ""}
    with pytest.raises(ConfigurationError, match="'x' twice"):
        parse_url("a://b?x=1&x=2")


@pytest.mark.parametrize(
    "text", ["", "shop.db", "/var/shop.db", "://x", "a\nb://c", "a://b\0", None, "http://[x"]
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_url(text)


@given(st.text())
@example("http://[::1")
@example("//[")
@example("1:2")
def test_any_text_is_a_url_or_refused_by_one_error(text: str) -> None:
    assert isinstance(shown(text), str)


@given(
    secrets,
    hosts,
    st.sampled_from(["password", "token", "api_key", "SECRET", "auth", "sasl_passwd", "%74oken"]),
)
def test_no_secret_is_ever_shown(secret: str, host: str, option: str) -> None:
    for text in (
        f"amqp://user:{secret}@{host}/vhost?{option}={secret}&x=1",
        f"nats://{secret}@{host}",
        f"amqp://user:{secret}@{host}:5672,user:{secret}@other",
        f"amqp://user:pass/{secret}@{host}",
        f"redis://:{secret}@{host}/0#{secret}",
        f"tcp://{host}?{option}={quote(secret)}",
        f"amqp:/user:{secret}@{host}",
        f"user:{secret}@{host}",
    ):
        assert secret not in redact(text), text
        assert secret not in shown(text), text


def shown(text: str) -> str:
    """What a user sees of a URL, whether it can be read or not."""
    try:
        url = parse_url(text)
    except ConfigurationError as error:
        return str(error)
    return f"{url} {url!r}"


def test_an_unknown_option_is_refused_with_the_nearest_there_is() -> None:
    url = parse_url("sqlite:///a?setle=flushed")
    with pytest.raises(ConfigurationError, match="did you mean 'settle'"):
        url.check_options(["settle", "page_size"])
    with pytest.raises(ConfigurationError, match="it has: none"):
        url.check_options([])
    parse_url("sqlite:///a?settle=flushed").check_options(["settle"])


def test_nothing_is_suggested_if_nothing_is_near() -> None:
    assert did_you_mean("xyz", ["settle"]) == ""
    assert did_you_mean("x", []) == ""
    assert did_you_mean("orders.paid", ["orders.placed"], likeness=0.9) == ""


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:1", ("localhost", 1)),
        ("8080", ("127.0.0.1", 8080)),
        (":8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
        ("[::1]:8080", ("::1", 8080)),
    ],
)
def test_an_address_without_a_host_is_loopback(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, name="health") == address


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", "x:65536", "::1:8080", "host:-1", "host:٣"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"health=.* write '127\.0\.0\.1:8080'"):
        parse_address(text, name="health")
