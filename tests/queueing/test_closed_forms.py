"""Each model beside a formula that was derived another way, worked out to many digits."""

import math
from decimal import Decimal, getcontext
from fractions import Fraction

import pytest

from waystation.queueing import (
    Queue,
    Trust,
    erlang_b,
    erlang_c,
    ggc,
    load_for_loss,
    loss,
    md1,
    mg1,
    mm1,
    mmc,
    mmck,
    mxmc,
    servers_for_loss,
)

LOADS = [0.05, 0.5, 0.8, 0.95, 0.99]


def erlang_b_by_definition(load: Fraction, servers: int) -> Fraction:
    weights = [Fraction(1)]
    for busy in range(1, servers + 1):
        weights.append(weights[-1] * load / busy)
    return weights[-1] / sum(weights)


@pytest.mark.parametrize("servers", [1, 2, 7, 60])
@pytest.mark.parametrize("load", [Fraction(1, 3), Fraction(5), Fraction(59), Fraction(200)])
def test_erlang_b_is_its_definition(load: Fraction, servers: int) -> None:
    by_definition = erlang_b_by_definition(load, servers)
    assert erlang_b(float(load), servers) == pytest.approx(float(by_definition), rel=1e-13)
    if load < servers:
        delayed = servers * by_definition / (servers - load * (1 - by_definition))
        assert erlang_c(float(load), servers) == pytest.approx(float(delayed), rel=1e-12)


def test_a_load_for_a_loss_and_the_servers_for_it_are_inverse() -> None:
    for servers in (1, 13, 500):
        load = load_for_loss(servers, 0.02)
        assert erlang_b(load, servers) == pytest.approx(0.02, rel=1e-10)
        assert servers_for_loss(load * (1 - 1e-9), 0.02) == servers
        assert servers_for_loss(load * (1 + 1e-9), 0.02) == servers + 1


@pytest.mark.parametrize("load", LOADS)
def test_mm1_is_its_textbook_formulas(load: float) -> None:
    found = mm1(load / 2, 2.0)
    assert found.wait.mean_s == pytest.approx(2 * load / (1 - load))
    assert found.sojourn.mean_s == pytest.approx(2 / (1 - load))
    assert found.waiting == pytest.approx(load**2 / (1 - load))
    for percentile in (50, 90, 99, 99.99):
        share = 1 - percentile / 100
        assert found.sojourn.percentile_s(percentile) == pytest.approx(2 / (1 - load) * -math.log(share))
        waited = max(0.0, 2 / (1 - load) * math.log(load / share))
        assert found.wait.percentile_s(percentile) == pytest.approx(waited, rel=1e-9)


def mmc_sojourn_tail(load: float, servers: int, seconds: float) -> float:
    """Gross and Harris, §2.3: P(T > t) for a handling time of 1, where c − 1 ≠ E."""
    waits, apart = erlang_c(load, servers), servers - 1 - load
    return math.exp(-seconds) * (1 + waits * (1 - math.exp(-apart * seconds)) / apart)


@pytest.mark.parametrize(("load", "servers"), [(0.3, 1), (1.7, 2), (4.5, 5), (4.2, 8), (95, 100)])
def test_the_sojourn_in_mmc_is_its_textbook_formula(load: float, servers: int) -> None:
    found = mmc(load, 1.0, servers)
    for seconds in (0.01, 0.5, 1.0, 3.0, 8.0):
        expected = mmc_sojourn_tail(load, servers, seconds)
        assert found.sojourn.exceeds(seconds) == pytest.approx(expected, rel=1e-10)


def test_equal_rates_are_no_exception() -> None:
    """With c − 1 = E the textbook's formula divides by zero; its limit is (1 + C·t)·e^(−t)."""
    found = mmc(4.0, 1.0, 5)
    for seconds in (0.5, 2.0, 6.0):
        expected = (1 + found.has_to_wait * seconds) * math.exp(-seconds)
        assert found.sojourn.exceeds(seconds) == pytest.approx(expected, rel=1e-12)


def states_by_definition(load: Fraction, servers: int, places: int) -> list[Fraction]:
    weights = [Fraction(1)]
    for state in range(1, places + 1):
        weights.append(weights[-1] * load / min(state, servers))
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize(
    ("load", "servers", "places"),
    [
        (Fraction(4, 5), 1, 5),
        (Fraction(5), 5, 12),
        (Fraction(9), 5, 12),
        (Fraction(1, 2), 3, 3),
        (Fraction(40), 2, 30),
    ],
)
def test_mmck_is_its_definition(load: Fraction, servers: int, places: int) -> None:
    states = states_by_definition(load, servers, places)
    found = mmck(float(load), 1.0, servers, places)
    taken = 1 - states[-1]
    queue = sum((n - servers) * p for n, p in enumerate(states) if n > servers)
    assert found.lost == pytest.approx(float(states[-1]), rel=1e-12)
    assert found.has_to_wait == pytest.approx(float(sum(states[servers:-1]) / taken), rel=1e-12)
    assert found.wait.mean_s == pytest.approx(float(queue / (load * taken)), rel=1e-12)
    assert found.in_system == pytest.approx(float(sum(n * p for n, p in enumerate(states))), rel=1e-12)
    for seconds in (0.1, 1.0, 4.0):
        waited = sum(
            float(states[n] / taken) * erlang_tail(n - servers + 1, servers * seconds)
            for n in range(servers, places)
        )
        assert found.wait.exceeds(seconds) == pytest.approx(waited, rel=1e-10)


def erlang_tail(phases: int, mean: float) -> float:
    """P(the sum of so many exponentials is longer) is P(a Poisson count is smaller)."""
    return sum(math.exp(-mean) * mean**n / math.factorial(n) for n in range(phases))


def test_the_sojourn_in_mm1k_is_a_mixture_of_erlang_distributions() -> None:
    """With one server, who finds n in the system stays for n + 1 handling times."""
    states = states_by_definition(Fraction(3, 2), 1, 6)
    found = mmck(1.5, 1.0, 1, 6)
    for seconds in (0.3, 2.0, 9.0):
        stays = sum(float(states[n] / (1 - states[-1])) * erlang_tail(n + 1, seconds) for n in range(6))
        assert found.sojourn.exceeds(seconds) == pytest.approx(stays, rel=1e-12)


def erlang_1909(load: Decimal, seconds: Decimal) -> Decimal:
    """A. K. Erlang, Nyt Tidsskrift for Matematik B 20: P(W ≤ t) in M/D/1 with a handling time of 1."""
    total = Decimal(0)
    for number in range(int(seconds) + 1):
        since = load * (seconds - number)
        power = (-since) ** number if number else Decimal(1)
        total += power / math.factorial(number) * since.exp()
    return (1 - load) * total


@pytest.mark.parametrize("load", ["0.01", "0.3", "0.8", "0.99", "0.999999"])
@pytest.mark.parametrize("seconds", ["0", "0.4", "1", "2.5", "17.25", "60.9"])
def test_md1_is_erlangs_formula_of_1909_worked_out_with_300_digits(load: str, seconds: str) -> None:
    getcontext().prec = 300
    exactly = 1 - erlang_1909(Decimal(load), Decimal(seconds))
    found = md1(float(load), 1.0)
    assert found.wait.exceeds(float(seconds)) == pytest.approx(float(exactly), rel=1e-9)
    assert found.sojourn.exceeds(float(seconds) + 1) == pytest.approx(float(exactly), rel=1e-9)


def me21_tail(load: float, seconds: float) -> float:
    """P(W > t) in M/E2/1 with a handling time of 1, by partial fractions of Pollaczek and Khinchine's transform."""
    rate = 2.0  # of each phase
    # W*(s) = (1 − ρ)(s + 2)² / ((s + 2)² − ρ(s + 4)), with poles at −x and −y
    half, product = (2 * rate - load) / 2, rate * rate * (1 - load)
    x, y = half - math.sqrt(half * half - product), half + math.sqrt(half * half - product)

    def weight(pole: float, other: float) -> float:
        return (1 - load) * (rate - pole) ** 2 / (pole * (pole - other))

    return -(weight(x, y) * math.exp(-x * seconds) + weight(y, x) * math.exp(-y * seconds))


@pytest.mark.parametrize("load", LOADS)
def test_mg1_with_two_phases_is_its_closed_form(load: float) -> None:
    found = mg1(load, 1.0, service_cv2=0.5)
    for seconds in (0.0, 0.2, 1.0, 5.0, 20.0):
        assert found.wait.exceeds(seconds) == pytest.approx(me21_tail(load, seconds), rel=1e-9)


def gim1_wait(load: float, laplace: float) -> float:
    """The mean wait in GI/M/1 with a handling time of 1: σ / (1 − σ), σ the share that waits."""
    return laplace / (1 - laplace)


def arriving_in_order(load: float) -> float:
    """σ of D/M/1: σ = e^(−(1 − σ)/ρ)."""
    sigma = 0.5
    for _ in range(int(100 / (1 - load))):
        sigma = math.exp(-(1 - sigma) / load)
    return sigma


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8, 0.95, 0.999])
def test_ggc_is_within_two_percent_of_arrivals_by_the_clock(load: float) -> None:
    exactly = gim1_wait(load, arriving_in_order(load))
    found = ggc(load, 1.0, 1, arrival_cv2=0.0, service_cv2=1.0)
    assert found.wait.mean_s == pytest.approx(exactly, rel=0.02 if load >= 0.5 else 0.2)
    assert found.wait_bound_s is not None
    assert found.wait.mean_s <= found.wait_bound_s
    assert found.trust is Trust.APPROXIMATION


@pytest.mark.parametrize("variation", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("load", LOADS)
def test_ggc_with_one_server_and_poisson_arrivals_has_the_mean_of_pollaczek_and_khinchine(
    load: float, variation: float
) -> None:
    general, exact = (
        ggc(load, 1.0, 1, arrival_cv2=1, service_cv2=variation),
        mg1(load, 1.0, service_cv2=variation),
    )
    assert general.wait.mean_s == pytest.approx(exact.wait.mean_s)
    assert general.has_to_wait == pytest.approx(exact.has_to_wait)


@pytest.mark.parametrize("batch", [1, 2, 9])
@pytest.mark.parametrize("load", LOADS)
def test_batches_at_one_server_have_their_textbook_mean(load: float, batch: int) -> None:
    """W = S·(2ρ + b − 1) / (2·(1 − ρ)) for fixed batches, S·(ρ + b − 1) / (1 − ρ) for geometric ones."""
    fixed, geometric = (mxmc(load, 1.0, 1, batch=batch, law=law) for law in ("fixed", "geometric"))
    assert fixed.wait.mean_s == pytest.approx((2 * load + batch - 1) / (2 * (1 - load)), rel=1e-9)
    assert geometric.wait.mean_s == pytest.approx((load + batch - 1) / (1 - load), rel=1e-9)


@pytest.mark.parametrize("load", LOADS)
def test_the_sojourn_of_geometric_batches_at_one_server_is_exponential(load: float) -> None:
    found = mxmc(load, 1.0, 1, batch=3, law="geometric")
    for seconds in (0.5, 4.0, 40.0):
        expected = math.exp(-seconds / found.sojourn.mean_s)
        assert found.sojourn.exceeds(seconds) == pytest.approx(expected, rel=1e-9)


def test_an_empty_house_gives_a_batch_its_own_queue() -> None:
    """Where next to nothing comes, a batch of five at two servers waits for itself: three of five, 1, 2 and 3 turns."""
    found = mxmc(1e-9, 1.0, 2, batch=5)
    assert found.has_to_wait == pytest.approx(3 / 5, rel=1e-6)
    assert found.wait.mean_s == pytest.approx((1 + 2 + 3) / 5 / 2, rel=1e-6)


def test_loss_does_not_depend_on_how_handling_times_vary() -> None:
    assert {loss(8, 1.0, 10, service_cv2=cv2).lost for cv2 in (0, 0.3, 1, 7)} == {erlang_b(8, 10)}
    assert loss(8, 1.0, 10).wait.percentile_s(99) == 0


def queues() -> list[Queue]:
    """One of each kind and a few corners of it."""
    return [
        *(mmc(load, 1.0, servers) for load, servers in ((0.5, 1), (4.0, 5), (9.9, 10), (950.0, 1000))),
        *(
            mmck(load, 1.0, servers, places)
            for load, servers, places in ((0.7, 1, 9), (8.0, 5, 40), (3.0, 4, 4))
        ),
        *(loss(8, 1.0, 10, service_cv2=cv2) for cv2 in (0.2, 1, 3)),
        *(mg1(0.9, 1.0, service_cv2=cv2) for cv2 in (0, 0.01, 0.4, 0.97, 1.03, 9)),
        *(
            ggc(load, 1.0, servers, arrival_cv2=0.4, service_cv2=cv2)
            for cv2 in (0, 0.05, 0.6, 2.5)
            for load, servers in ((0.2, 1), (0.9, 1), (6.0, 8), (3.0, 30))
        ),
        *(mxmc(load, 1.0, 4, batch=6, law=law) for load in (0.4, 3.6) for law in ("fixed", "geometric")),
    ]


@pytest.mark.parametrize("found", queues(), ids=lambda found: f"{found.model}-{found.service_cv2:g}")
def test_the_area_under_a_tail_is_its_mean(found: Queue) -> None:
    """E[T] = ∫ P(T > t) dt: the mean is from one formula and the tail from another."""
    for delay in (found.wait, found.sojourn):
        end, steps = delay.percentile_s(99.999999), 2000
        area = math.fsum(delay.exceeds((i + 0.5) * end / steps) for i in range(steps)) * end / steps
        assert area == pytest.approx(delay.mean_s, rel=2e-3, abs=1e-9)
