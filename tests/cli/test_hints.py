"""Remarks about names that lead nowhere yet."""

import pytest
import typer

from waystation._core.inspection import GroupInfo
from waystation.cli.hints import about_unhandled, about_unread, insist_on_group


def reads(group: str, topic: str) -> GroupInfo:
    return GroupInfo(group=group, topic=topic, ready=0, in_flight=0, waiting=0, dead=0, oldest_age_s=None)


GROUPS = [
    reads("billing", "orders.placed"),
    reads("audit", "orders.placed"),
    reads("orders.ship", "orders.ship"),
]


def test_an_event_that_somebody_reads_needs_no_remark() -> None:
    assert about_unread("orders.placed", GROUPS, kept="7 days") is None


@pytest.mark.parametrize(
    ("topic", "meant"),
    [
        ("orders.plcaed", "'orders.placed'"),
        ("order.placed", "'orders.placed'"),
        ("orders.shipp", "'orders.ship'"),
    ],
)
def test_an_event_that_nobody_reads_may_be_mistyped(topic: str, meant: str) -> None:
    remark = about_unread(topic, GROUPS, kept="7 days")
    assert remark == f"nobody reads {topic!r} yet; it is kept 7 days: did you mean {meant}?"


@pytest.mark.parametrize("topic", ["letters", "orders.refused", "payments.placed"])
def test_an_event_of_a_new_topic_is_not_called_mistyped(topic: str) -> None:
    assert about_unread(topic, GROUPS, kept="7 days") == f"nobody reads {topic!r} yet; it is kept 7 days"


def test_a_command_needs_a_handler_and_not_just_a_reader() -> None:
    assert about_unhandled("orders.ship", GROUPS) is None
    remark = about_unhandled("orders.placed", GROUPS)
    assert remark == "nobody handles 'orders.placed' yet; it is kept until somebody does"
    assert "did you mean 'orders.ship'?" in str(about_unhandled("order.ship", GROUPS))


def test_a_group_that_is_not_there_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    insist_on_group(None, [])
    insist_on_group("billing", GROUPS)
    with pytest.raises(typer.Exit) as exit_info:
        insist_on_group("biling", GROUPS)
    assert exit_info.value.exit_code == 1
    assert capsys.readouterr().err == "no group 'biling' on any topic: did you mean 'billing'?\n"
