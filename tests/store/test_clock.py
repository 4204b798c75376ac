"""The store's clock beside a wall clock that jumps."""

from waystation._store.clock import StoreClock


def test_it_never_falls() -> None:
    moments = iter([5.0, 7.0, 3.0, 6.0, 8.0, 8.5, 1.0])
    clock = StoreClock(lambda: next(moments), lambda: 0.0)
    assert [clock.now() for _ in range(5)] == [5.0, 7.0, 7.0, 7.0, 8.0]
    clock.raise_to(9.0)
    assert clock.now() == 9.0


def test_it_goes_on_at_half_the_pace_until_a_wall_clock_that_was_set_back_has_caught_up() -> None:
    wall, passed = 7200.0, 0.0
    clock = StoreClock(lambda: wall + passed, lambda: passed)
    assert clock.now() == 7200.0
    wall = 3600.0
    assert clock.now() == 7200.0
    passed = 3600.0
    assert clock.now() == 9000.0
    clock.raise_to(9000.0)
    passed = 7200.0
    assert clock.now() == 10800.0 == wall + passed
    passed = 7201.0
    assert clock.now() == 10801.0
