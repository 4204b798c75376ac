from waystation._core.limits import QUICK_DEATH_S, QUICK_DEATHS_MAX
from waystation._core.restart import Restarts


def test_the_first_quick_death_is_followed_by_a_start_at_once() -> None:
    assert Restarts().died(0.1).delay_s == 0.0


def test_pauses_double_with_each_further_quick_death() -> None:
    restarts, pauses = Restarts(), []
    for _ in range(QUICK_DEATHS_MAX):
        restarts = restarts.died(0.1)
        pauses.append(restarts.delay_s)
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert restarts.hopeless


def test_a_process_that_lived_long_enough_has_a_clean_slate() -> None:
    restarts = Restarts(QUICK_DEATHS_MAX - 1).died(QUICK_DEATH_S)
    assert restarts == Restarts()
    assert not restarts.hopeless
