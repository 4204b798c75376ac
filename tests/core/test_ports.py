"""What is asked of a transport is legal before any transport sees it."""

import pytest

from waystation._core.errors import ConfigurationError
from waystation._core.ports import Subscription, Topology


def test_a_subscription_has_a_group_and_a_topic_or_pattern() -> None:
    assert Subscription(pattern="orders.*", group="billing").start == "earliest"


def test_a_reply_address_has_no_group() -> None:
    assert Subscription(pattern="_reply.abc", group=None).group is None


@pytest.mark.parametrize(
    ("pattern", "group"),
    [
        ("orders", None),
        ("orders", ""),
        ("orders", "a b"),
        ("", "a"),
        ("a..b", "a"),
        ("_reply.abc", "a"),
        ("a.*", None),
    ],
)
def test_any_other_subscription_is_refused(pattern: str, group: str | None) -> None:
    with pytest.raises(ConfigurationError):
        Subscription(pattern=pattern, group=group)


def test_a_topology_has_concrete_topics() -> None:
    assert Topology(("a", "b.c")).topics == ("a", "b.c")
    with pytest.raises(ConfigurationError):
        Topology(("a", "b.*"))
