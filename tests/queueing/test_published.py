"""Numbers that were printed elsewhere: tables and worked examples of the literature, to their last digit."""

import pytest

from waystation.queueing import (
    erlang_c,
    fit_scalability,
    load_for_loss,
    md1,
    mg1,
    mm1,
    mmc,
    mmck,
    servers_for_loss,
)

#: T. S. Rappaport, Wireless Communications, 2nd edition, 2002, table 3.4: Erlangs that so many channels carry at a
#: grade of service of 1 %, 0.5 %, 0.2 % and 0.1 %. Its last digit is off by one in places, and by a hair more for 40.
ERLANG_B = {
    2: (0.153, 0.105, 0.065, 0.046),
    4: (0.869, 0.701, 0.535, 0.439),
    5: (1.36, 1.13, 0.900, 0.762),
    10: (4.46, 3.96, 3.43, 3.09),
    20: (12.0, 11.1, 10.1, 9.41),
    24: (15.3, 14.2, 13.0, 12.2),
    40: (29.0, 27.3, 25.7, 24.5),
    70: (56.1, 53.7, 51.0, 49.2),
    100: (84.1, 80.9, 77.4, 75.2),
}

#: I. Adan and J. Resing, Queueing Systems, Eindhoven 2015, table 5.1: M/M/c with a mean handling time of 1 at a
#: utilisation of 0.9: servers, probability of waiting, mean wait.
ERLANG_C = [(1, 0.90, 9.00), (2, 0.85, 4.26), (5, 0.76, 1.53), (10, 0.67, 0.67), (20, 0.55, 0.28)]


@pytest.mark.parametrize("servers", ERLANG_B)
def test_erlang_b_is_that_of_the_printed_table(servers: int) -> None:
    for lost, printed in zip((0.01, 0.005, 0.002, 0.001), ERLANG_B[servers], strict=True):
        last_digit = 0.001 if printed < 1 else 0.01 if printed < 10 else 0.1
        assert load_for_loss(servers, lost) == pytest.approx(printed, abs=1.02 * last_digit)
        assert servers_for_loss(printed - 1.02 * last_digit, lost) == servers


@pytest.mark.parametrize(("servers", "waits", "wait"), ERLANG_C)
def test_erlang_c_is_that_of_the_printed_table(servers: int, waits: float, wait: float) -> None:
    found = mmc(0.9 * servers, 1.0, servers)
    assert found.has_to_wait == erlang_c(0.9 * servers, servers) == pytest.approx(waits, abs=0.005)
    assert found.wait.mean_s == pytest.approx(wait, abs=0.0051)


def test_the_county_hospital() -> None:
    """F. Hillier and G. Lieberman, Introduction to Operations Research, table 17.2: 2 an hour, 3 a doctor."""
    one, two = mmc(2, 1 / 3, 1), mmc(2, 1 / 3, 2)
    assert (one.utilisation, one.waiting, one.in_system) == pytest.approx((2 / 3, 4 / 3, 2))
    assert (one.wait.mean_s, one.sojourn.mean_s) == pytest.approx((2 / 3, 1))
    assert (one.has_to_wait, one.wait.exceeds(0.5), one.wait.exceeds(1)) == pytest.approx(
        (0.667, 0.404, 0.245), abs=5e-4
    )
    assert (two.utilisation, two.waiting, two.in_system) == pytest.approx((1 / 3, 1 / 12, 3 / 4))
    assert (two.wait.mean_s, two.sojourn.mean_s) == pytest.approx((1 / 24, 3 / 8))
    assert (two.has_to_wait, two.wait.exceeds(0.5), two.wait.exceeds(1)) == pytest.approx(
        (0.167, 0.022, 0.003), abs=6e-4
    )


def test_problems_of_bronson() -> None:
    """R. Bronson, Operations Research (Schaum), 1982, problems 23.3, 23.14, 23.16 and 24.6."""
    first = mm1(24, 1 / 30)
    assert (first.in_system, first.sojourn.mean_s, 1 - first.utilisation) == pytest.approx((4, 1 / 6, 0.2))
    second = mm1(30, 1.5 / 60)
    assert (second.waiting, second.wait.mean_s * 60) == pytest.approx((2.25, 4.5))
    third = mm1(1, 0.75)
    assert (third.waiting, third.wait.mean_s, third.sojourn.mean_s) == pytest.approx((2.25, 2.25, 3))
    fourth = mmc(300, 1 / 182.5, 3)
    assert (fourth.waiting, fourth.in_system) == pytest.approx((0.352, 1.996), abs=5e-4)
    assert (fourth.wait.mean_s, fourth.sojourn.mean_s) == pytest.approx((0.001175, 0.006654), abs=5e-7)


def test_the_inspection_station_with_room_for_seven_cars() -> None:
    """D. Gross and C. Harris, Fundamentals of Queueing Theory, 1998, example 2.4; they round p(0) to two digits."""
    found = mmck(1, 6, 3, 7)
    assert (found.waiting, found.in_system) == pytest.approx((3.09, 6.06), abs=0.005)
    assert found.sojourn.mean_s == pytest.approx(12.3, rel=0.005)
    assert 60 * found.lost == pytest.approx(30.4, rel=0.005)


def test_a_training_that_makes_work_steadier_but_slower() -> None:
    """Gross and Harris, 1998, example 5.1: M/G/1 with 10 an hour; 5 ± 5 minutes before, 5.5 ± 4 after."""
    before, after = mg1(10 / 60, 5, service_cv2=1), mg1(10 / 60, 5.5, service_cv2=(4 / 5.5) ** 2)
    assert (before.in_system, before.sojourn.mean_s) == pytest.approx((5, 30))
    assert (after.in_system, after.sojourn.mean_s) == pytest.approx((8.625, 51.75))


def test_constant_service_of_two_minutes_for_twenty_an_hour() -> None:
    """The worked example of Wikipedia's article M/D/1 queue: 20 an hour come, 30 an hour can be served."""
    found = md1(20, 1 / 30)
    assert (found.waiting, found.in_system) == pytest.approx((0.6667, 1.3333), abs=5e-5)
    assert (found.wait.mean_s, found.sojourn.mean_s) == pytest.approx((0.033, 0.067), abs=5e-4)


#: SPEC SDM91 on a SPARCcenter 2000, October 1994: users and scripts per hour. In N. Gunther, Guerrilla Capacity
#: Planning, 2007, and with the R package usl (S. Möding), whose results are those below.
SDM91 = [(1, 64.9), (18, 995.9), (36, 1652.4), (72, 1853.2), (108, 1828.9), (144, 1775.0), (216, 1702.2)]

#: A ray tracer on an SGI Origin 2000: processors and intersections per second; the first six of the same package.
RAYTRACER = [(1, 20.0), (4, 78.0), (8, 130.0), (12, 170.0), (16, 190.0), (20, 200.0)]


def test_the_fit_of_the_universal_scalability_law_is_that_of_the_r_package() -> None:
    found = fit_scalability(SDM91)
    assert (found.contention, found.coherency) == pytest.approx((2.773e-2, 1.044e-4), rel=5e-4)
    assert (found.one_per_s, found.peak, found.peak_per_s) == pytest.approx((90.0, 96.51956, 1884), rel=1e-3)
    assert [round(found.at(users)) for users, _ in SDM91] == [90, 1078, 1541, 1850, 1879, 1822, 1646]
    assert found.peak_was_measured


def test_the_fit_of_a_ray_tracer_is_that_of_the_r_package() -> None:
    found = fit_scalability(RAYTRACER)
    assert (found.contention, found.coherency, found.one_per_s) == pytest.approx(
        (0.02444, 0.00163, 20.85605), rel=3e-3
    )
