"""Faults of the models of queues: a factor, a limit, a tail, each of the kind that still looks right."""

from __future__ import annotations

from .planting import Mutant

FORMS = "tests/queueing/test_closed_forms.py::"
LIMITS = "tests/queueing/test_limits.py::"
PUBLISHED = "tests/queueing/test_published.py::"
LOAD = "tests/queueing/test_load.py::"

MODELS = (
    Mutant(
        "models: Pollaczek and Khinchine without the square",
        "queueing/single.py",
        "    mean = load * service * (1 + variation) / (2 * (1 - load))",
        "    mean = load * service * (1 + variation**0.5) / (2 * (1 - load))",
        (PUBLISHED + "test_a_training_that_makes_work_steadier_but_slower",),
    ),
    Mutant(
        "models: Erlang's C taken for his B",
        "queueing/erlang.py",
        "    return servers * lost / (servers - load * (1 - lost))",
        "    return lost",
        (PUBLISHED + "test_erlang_c_is_that_of_the_printed_table",),
    ),
    Mutant(
        "models: a server too few in Erlang's recurrence",
        "queueing/erlang.py",
        'whole(servers, "servers", at_most=SERVERS_MAX) + 1):',
        'whole(servers, "servers", at_most=SERVERS_MAX)):',
        (PUBLISHED + "test_erlang_b_is_that_of_the_printed_table",),
    ),
    Mutant(
        "models: an overloaded queue is answered",
        "queueing/erlang.py",
        "    if load / servers > UTILISATION_MAX:",
        "    if load / servers > 1e9:",
        ("tests/queueing/test_bad_input.py::test_as_much_work_as_the_servers_can_do_is_too_much",),
    ),
    Mutant(
        "models: a full queue that takes one more",
        "queueing/markov.py",
        "    plain, weighted = geometric_sums(inverse, room + 1)",
        "    plain, weighted = geometric_sums(inverse, room + 2)",
        (FORMS + "test_mmck_is_its_definition",),
    ),
    Mutant(
        "models: whoever is being handled leaves at the next departure",
        "queueing/markov.py",
        "    stays = 1 - 1 / servers\n",
        "    stays = 0.0\n",
        (LIMITS + "test_batches_of_one_are_no_batches",),
    ),
    Mutant(
        "models: equal rates of wait and handling",
        "queueing/tails.py",
        "    both = seconds if apart == 0 else ",
        "    both = 0.0 if apart == 0 else ",
        (FORMS + "test_equal_rates_are_no_exception",),
    ),
    Mutant(
        "models: a Poisson sum that ends too early",
        "queueing/lattice.py",
        "_NEGLIGIBLE: Final = 1e-17",
        "_NEGLIGIBLE: Final = 1e-4",
        (FORMS + "test_mg1_with_two_phases_is_its_closed_form",),
    ),
    Mutant(
        "models: M/D/1 with an arrival too many",
        "queueing/constant.py",
        "            terms.append(weight * self._longer(services - seen))",
        "            terms.append(weight * self._longer(services - seen - 1))",
        (FORMS + "test_md1_is_erlangs_formula_of_1909_worked_out_with_300_digits",),
    ),
    Mutant(
        "models: a batch that does not wait for itself",
        "queueing/batches.py",
        "        following = flow.push(weight) * load / (size * min(state, servers))",
        "        following = flow.push(weight) * load / (size * (size if state == 1 else min(state, servers)))",
        (FORMS + "test_batches_at_one_server_have_their_textbook_mean",),
    ),
    Mutant(
        "models: a wish kept by one consumer too few",
        "queueing/roots.py",
        "        low, top = (low, middle) if holds(middle) else (middle + 1, top)",
        "        low, top = (low, middle) if holds(middle + 1) else (middle + 1, top)",
        (LOAD + "test_a_sizing_is_the_smallest_number_that_keeps_the_wish",),
    ),
    Mutant(
        "models: retries that never end",
        "queueing/load.py",
        "        return (1 - self.fails**self.attempts_max) / (1 - self.fails)",
        "        return 1 / (1 - self.fails)",
        (LOAD + "test_retries_amplify_a_load",),
    ),
    Mutant(
        "models: a window of confirmations that is one too wide",
        "queueing/transfer.py",
        "        rounds, before = divmod(before, window)",
        "        rounds, before = divmod(before, window + 1)",
        ("tests/queueing/test_transfer.py::test_the_formula_is_what_happens_event_by_event",),
    ),
    Mutant(
        "models: a backlog below nothing",
        "queueing/fluid.py",
        "        return max(0.0, self.level + since_s * (self.growth + since_s * self.bend / 2))",
        "        return self.level + since_s * (self.growth + since_s * self.bend)",
        ("tests/queueing/test_backlog.py::test_a_rate_that_rises_and_falls_makes_parabolas",),
    ),
    Mutant(
        "models: a negative share of contention",
        "queueing/usl.py",
        "        if min(pair) >= 0 and ",
        "        if ",
        ("tests/queueing/test_usl.py::test_more_than_even_scaling_is_fitted_as_even",),
    ),
    Mutant(
        "models: a kilobyte that is sometimes 1,024",
        "queueing/units.py",
        '"kB": 1e3,',
        '"kB": 1024.0, "KB": 1024.0,',
        ("tests/queueing/test_units.py::test_what_people_write_is_read",),
    ),
)
