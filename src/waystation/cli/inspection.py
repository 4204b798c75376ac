"""`waystation topics`, `groups` and `lag`: what is there, and how far behind its readers are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from waystation._core.duration import rfc3339
from waystation._core.inspection import GroupInfo, MemberInfo, Roster, TopicInfo
from waystation._core.topic import matches

from .hints import insist_on_group
from .output import Row, age, console, note, print_json, show_rows, size
from .parameters import AsJson, Group, positional, seconds_of
from .target import Target, inspector_at


def topics(target: Target = None, *, as_json: AsJson = False) -> None:
    """List the topics: how many messages each keeps, since when, and who reads it.

    Example: `waystation topics sqlite:///shop.db`
    """
    (where,) = positional([], target)
    found = asyncio.run(_topics(where))
    rows = [_topic_json(topic) for topic in found] if as_json else [_topic_row(topic) for topic in found]
    show_rows(rows, as_json=as_json, empty="no topics: nothing was published or declared yet")


def groups(target: Target = None, *, as_json: AsJson = False) -> None:
    """List the groups on each topic: what is ready, in flight, waiting for a retry, and dead; and who serves them.

    A member is a process. It says what it does when that changes, and every 10 s.

    Example: `waystation groups sqlite:///shop.db`
    """
    (where,) = positional([], target)
    found, members = asyncio.run(_groups_and_members(where))
    if as_json:
        print_json([{**_group_json(group), "members": _members_json(group, members)} for group in found])
        return
    rows = [{**_group_row(group), "members": len(_members_of(group, members))} for group in found]
    show_rows(rows, as_json=False, empty="no groups: no handler was started yet")
    if members:
        console().print()
        show_rows([_member_row(member) for member in members], as_json=False, empty="")


def lag(
    target: Target = None,
    *,
    group: Group = None,
    max_count: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Exit with 1 if some lag is over N.", show_default=False),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option(
            metavar="AGE", help="Exit with 1 if something waits for longer: 30s.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print how many messages each group has not settled yet, the farthest behind first.

    The age counts from when a message was published, or from the time that it was scheduled for.

    Example: `waystation lag sqlite:///shop.db --group billing --max-count 1000 --max-age 30s`
    """
    (where,) = positional([], target)
    limit_s = None if max_age is None else seconds_of(max_age, "--max-age")
    everything = asyncio.run(_groups(where))
    insist_on_group(group, everything)
    found = [info for info in everything if group in (None, info.group)]
    found.sort(key=lambda info: info.lag, reverse=True)
    rows = [
        {"group": info.group, "topic": info.topic, "lag": info.lag}
        | ({"oldest_age_s": info.oldest_age_s} if as_json else {"oldest": age(info.oldest_age_s)})
        for info in found
    ]
    show_rows(rows, as_json=as_json, empty="no groups")
    behind = [info for info in found if max_count is not None and info.lag > max_count]
    late = [info for info in found if limit_s is not None and (info.oldest_age_s or 0.0) > limit_s]
    if behind:
        note(f"over {max_count:,}: {_places(behind)}")
    if late:
        note(f"older than {max_age}: {_places(late)}")
    if behind or late:
        raise typer.Exit(1)


def _places(found: Sequence[GroupInfo]) -> str:
    return ", ".join(f"{info.group} on {info.topic}" for info in found)


async def _topics(target: str) -> Sequence[TopicInfo]:
    async with inspector_at(target) as inspector:
        return await inspector.topics()


async def _groups(target: str) -> Sequence[GroupInfo]:
    async with inspector_at(target) as inspector:
        return await inspector.groups()


async def _groups_and_members(target: str) -> tuple[Sequence[GroupInfo], Sequence[MemberInfo]]:
    async with inspector_at(target) as inspector:
        return await inspector.groups(), await inspector.members() if isinstance(inspector, Roster) else ()


def _members_of(info: GroupInfo, members: Sequence[MemberInfo]) -> list[MemberInfo]:
    return [one for one in members if one.group == info.group and matches(one.pattern, info.topic)]


def _topic_row(topic: TopicInfo) -> Row:
    now = time.time()
    return {
        "topic": topic.name,
        "messages": topic.messages,
        "size": size(topic.bytes),
        "oldest": age(topic.oldest and max(0.0, now - topic.oldest)),
        "newest": age(topic.newest and max(0.0, now - topic.newest)),
        "groups": topic.groups,
    }


def _topic_json(topic: TopicInfo) -> Row:
    return {
        "topic": topic.name,
        "messages": topic.messages,
        "next_offset": topic.next_offset,
        "bytes": topic.bytes,
        "oldest": topic.oldest and rfc3339(topic.oldest),
        "newest": topic.newest and rfc3339(topic.newest),
        "groups": topic.groups,
    }


def _group_row(info: GroupInfo) -> Row:
    return {
        "group": info.group,
        "topic": info.topic,
        "ready": info.ready,
        "in flight": info.in_flight,
        "waiting": info.waiting,
        "dead": info.dead,
        "oldest": age(info.oldest_age_s),
    }


def _member_row(member: MemberInfo) -> Row:
    now = time.time()
    return {
        "member": str(member.pid),
        "serves": f"{member.group}@{member.pattern}",
        "state": member.state,
        "since": age(max(0.0, now - member.since)),
        "heard": age(max(0.0, now - member.heard)),
        "reason": member.reason or None,
    }


def _members_json(info: GroupInfo, members: Sequence[MemberInfo]) -> list[Row]:
    return [
        {
            "pid": member.pid,
            "state": member.state,
            "reason": member.reason,
            "since": rfc3339(member.since),
            "heard": rfc3339(member.heard),
        }
        for member in _members_of(info, members)
    ]


def _group_json(info: GroupInfo) -> Row:
    return {
        "group": info.group,
        "topic": info.topic,
        "lag": info.lag,
        "ready": info.ready,
        "in_flight": info.in_flight,
        "waiting": info.waiting,
        "dead": info.dead,
        "oldest_age_s": info.oldest_age_s,
    }
