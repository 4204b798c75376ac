"""What a `redis://` URL may say, and what it must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from waystation import ConfigurationError
from waystation._core.url import parse_url
from waystation.transports.redis.options import Options, read_options


def read(url: str) -> Options:
    return read_options(parse_url(url))


def test_a_url_says_where_and_under_which_keys() -> None:
    options = read(
        "redis://shop:s%40crt@127.0.0.1:6380/2?prefix=shop&keep=1h&dedupe_window=10m&connect_timeout=3s"
    )
    assert (options.host, options.port, options.database) == ("127.0.0.1", 6380, 2)
    assert (options.user, options.password, options.base) == ("shop", "s@crt", "{shop}:")
    assert (options.keep_s, options.dedupe_window_s, options.connect_timeout_s) == (3600, 600, 3)
    plain = read("redis://localhost")
    assert (plain.port, plain.database, plain.base, plain.tls) == (6379, 0, "{ws}:", None)


def test_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    secret = "canary-8271"
    url = parse_url(f"redis://:{secret}@127.0.0.1:6379/0?insecure=no")
    with pytest.raises(ConfigurationError) as caught:
        read_options(url)
    file = tmp_path / "password"
    file.write_text(f"{secret}\n")
    options = read(f"redis://127.0.0.1?password_file={file}")
    assert options.password == secret
    for shown in (str(url), repr(url), str(caught.value), repr(options), options.place):
        assert secret not in shown


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis:///0", "does not name one server"),
        ("redis://one,two", "does not name one server"),
        ("redis://host:99999", "the port is not a number"),
        ("redis://host/main", "'main' is not the number of a database"),
        ("redis://host?prefx=a", "did you mean 'prefix'"),
        ("redis://host?prefix=a{b}", "prefix='a{b}' must be letters"),
        ("redis://host?prefix=" + "a" * 65, "at most 64"),
        ("redis://:pw@host", "without TLS: write rediss://"),
        ("redis://:pw@host?insecure=yes", "insecure='yes'"),
        ("redis://host?keep=long", "keep='long' is not a duration"),
        ("redis://host?tls_ca=ca.pem", "needs TLS: write rediss://"),
        ("rediss://host?tls_ca=/nowhere/ca.pem", "cannot be read"),
        ("rediss://host?tls_key=key.pem", "needs its certificate"),
        ("redis://localhost?password_file=/nowhere", "cannot be read"),
        ("redis://:pw@localhost?password_file=/nowhere", "which one counts"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(url)
    assert says in str(caught.value)
    assert ":pw@" not in str(caught.value)


def test_a_password_goes_to_another_machine_by_tls_or_knowingly() -> None:
    assert read("rediss://:pw@host").tls is not None
    assert read("redis://:pw@host?insecure=yes-i-know").password == "pw"
