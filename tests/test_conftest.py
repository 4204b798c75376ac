"""That `async def` tests really run, and that what they leave behind is noticed."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import and_nothing_left

#: What the coroutine tests below left as proof that they were awaited, not merely created.
awaited: list[object] = []


async def test_a_coroutine_test_is_awaited_with_its_fixtures(tmp_path: object) -> None:
    await asyncio.sleep(0)
    awaited.append(tmp_path)


@given(st.integers())
async def test_a_coroutine_property_is_awaited(number: int) -> None:
    await asyncio.sleep(0)
    awaited.append(type(number))


def test_both_were_awaited() -> None:
    assert len(awaited) > 1
    assert int in awaited


def test_a_task_left_running_fails_the_test() -> None:
    async def careless() -> None:
        left.append(asyncio.create_task(asyncio.Event().wait()))

    left: list[asyncio.Task[bool]] = []
    with pytest.raises(pytest.fail.Exception, match="left 1 running"):
        asyncio.run(and_nothing_left(careless()))
