"""The plugin, as a program's tests use it: in a folder with a program and its tests."""

import pytest

pytest_plugins = ("pytester",)

SHOP = """
import asyncio
import msgspec
from waystation import Bus, RetryPolicy, Topic, Transaction

class Order(msgspec.Struct):
    number: int

orders = Topic("orders.placed", Order)
charged = []
hourly = RetryPolicy(first_delay="1h", max_delay="1h", jitter=False)
bus = Bus("sqlite:///shop.db")
ledger = Bus("sqlite:///shop.db")

@bus.subscribe(orders, group="billing", retry=hourly)
async def charge(order: Order) -> None:
    charged.append(order.number)
    if order.number == 99:
        await asyncio.Event().wait()
    if order.number < 0 and charged.count(order.number) == 1:
        raise ValueError("a negative number")

@ledger.subscribe("orders", group="ledger")
async def book(number: int, tx: Transaction) -> None:
    await tx.execute("CREATE TABLE IF NOT EXISTS ledger (number INTEGER)")
    await tx.execute("INSERT INTO ledger VALUES (?)", (number,))
"""

GOOD = """
import pytest
import shop

@pytest.fixture(autouse=True)
def nothing_is_charged():
    shop.charged.clear()

async def test_a_bus_has_settled_when_its_handlers_have(bus):
    for number in range(5):
        await bus.publish(shop.orders, shop.Order(number))
    await bus.settled()
    assert sorted(shop.charged) == [0, 1, 2, 3, 4]

async def test_each_test_has_a_medium_of_its_own(bus):
    await bus.settled()
    assert not await bus.inspector().browse("#", start="earliest", limit=9)

async def test_time_passes_when_the_test_says_so(bus, clock):
    await shop.bus.publish(shop.orders, shop.Order(-1))
    await bus.settled()
    assert shop.charged == [-1]
    await clock.advance(3599)
    assert shop.charged == [-1]
    await clock.advance(2)
    await bus.settled()
    assert shop.charged == [-1, -1]

async def test_a_handler_that_does_not_end_is_named(bus, monkeypatch):
    monkeypatch.setattr("waystation.testing.embedded._PATIENCE_S", 0.2)
    await bus.publish(shop.orders, shop.Order(99))
    with pytest.raises(TimeoutError, match="group 'billing' has 0 ready, 1 in flight"):
        await bus.settled()

@pytest.mark.waystation_faults(n=40)
async def test_a_handler_that_survives_faults_passes(bus, clock):
    shop.charged.clear()
    for number in range(4):
        await bus.publish(shop.orders, shop.Order(number), key="k")
    await bus.settled()
    assert list(dict.fromkeys(shop.charged)) == [0, 1, 2, 3]

class TestLedger:
    @pytest.fixture
    def waystation_bus(self):
        return shop.ledger

    async def test_handlers_that_need_a_database_get_one(self, bus):
        await bus.publish("orders", 1)
        await bus.settled()
        async with bus.transaction() as tx:
            assert await tx.execute("SELECT number FROM ledger") == [(1,)]

    @pytest.mark.waystation_faults(n=10)
    async def test_transactions_survive_faults_with_each_effect_once(self, bus):
        for number in range(4):
            await bus.publish("orders", number)
        await bus.settled()
        async with bus.transaction() as tx:
            assert sorted(await tx.execute("SELECT number FROM ledger")) == [(n,) for n in range(4)]
"""

BAD = """
import pytest
import shop

@pytest.mark.waystation_faults(n=40, seed=7)
async def test_it(bus):
    shop.charged.clear()
    for number in range(4):
        await bus.publish(shop.orders, shop.Order(number))
    await bus.settled()
    assert len(shop.charged) == 4
"""


OTHER = """
import pytest

@pytest.fixture
def bus():
    return "a double-decker"

@pytest.fixture
def clock():
    return "noon"

async def test_mine(bus, clock):
    assert (bus, clock) == ("a double-decker", "noon")

@pytest.mark.waystation_faults
async def test_theirs(bus): ...
"""

RUNNER = """
import asyncio

def pytest_pyfunc_call(pyfuncitem):
    asyncio.run(pyfuncitem.obj(pyfuncitem.funcargs["bus"], pyfuncitem.funcargs["clock"]))
    return True
"""


@pytest.fixture
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(shop=SHOP)
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nwaystation_bus = 'shop:bus'\npythonpath = ['.']")
    return pytester


def run(shop: pytest.Pytester, code: str, *arguments: str) -> pytest.RunResult:
    shop.makepyfile(test_it=code)
    return shop.runpytest_inprocess("-p", "waystation.testing.plugin", "-p", "no:cacheprovider", *arguments)


def test_a_program_is_tested_on_media_of_the_tests(shop: pytest.Pytester) -> None:
    run(shop, GOOD).assert_outcomes(passed=7)
    assert not (shop.path / "shop.db").exists()


def test_who_does_not_survive_is_shown_the_seed_and_the_shortest_schedule(shop: pytest.Pytester) -> None:
    result = run(shop, BAD)
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines_random([r"E +seed \d+, whose schedule was shortened from \d+ faults to 1:"])
    result.stdout.re_match_lines_random([r"E +again: @pytest.mark.waystation_faults\(n=1, seed=\d+\)"])


@pytest.mark.parametrize("setting", ["", "shop:nothing"])
def test_a_bus_that_is_not_said_is_asked_for(shop: pytest.Pytester, setting: str) -> None:
    result = run(shop, "async def test_it(bus): ...", "-o", f"waystation_bus={setting}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*waystation_bus = *"])


def test_a_mark_without_a_bus_is_refused(shop: pytest.Pytester) -> None:
    result = run(shop, "import pytest\n@pytest.mark.waystation_faults\nasync def test_it(): ...")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_fixture_bus_of_the_projects_own_is_left_alone(shop: pytest.Pytester) -> None:
    shop.makeconftest(RUNNER)
    result = run(shop, OTHER, "-o", "waystation_bus=")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*waystation_faults is for a test with Waystation's own fixture `bus`*"])
