"""The conformance suite, run on a URL from within a program: what `waystation conform` shows. Needs pytest."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest

from waystation import ConfigurationError

from .._core.capabilities import Capabilities, Need
from . import items
from .clock import VirtualClock
from .conformance.rules import RULES, Mark, Rule, mark_of
from .embedded import EmbeddedBus
from .scratch import scratch

Outcome: TypeAlias = Literal["passed", "failed", "not claimed", "no test"]

_SUITE = Path(__file__).parent / "conformance" / "target.py"


@dataclass(frozen=True, slots=True)
class Trial:
    """One test: how it ended, how long it took, and why it failed."""

    name: str
    mark: Mark
    outcome: Outcome
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What the tests of one rule came to. `no test`: there is none, so for all we know the rule is not kept.

    Attributes:
        claimed: Whether the transport claims what the rule is about.
    """

    rule: Rule
    tests: tuple[Trial, ...]
    claimed: bool

    @property
    def seconds(self) -> float:
        """How long its tests took."""
        return sum(test.seconds for test in self.tests)

    @property
    def outcome(self) -> Outcome:
        """The worst of its tests; those that were not asked say nothing if another one was."""
        found = {test.outcome for test in self.tests}
        order: Sequence[Outcome] = ("failed", "passed", "not claimed")
        return next((each for each in order if each in found), "no test" if self.claimed else "not claimed")


@dataclass(frozen=True, slots=True)
class Examination:
    """A transport, its claims, and what became of them.

    Attributes:
        folder: Where the scratch media were, which are gone; None: nowhere.
    """

    capabilities: Capabilities
    rules: tuple[RuleResult, ...]
    folder: Path | None

    @property
    def failed(self) -> tuple[RuleResult, ...]:
        """Rules that are not kept: a test failed, or there is none although what the rule is about is claimed."""
        return tuple(each for each in self.rules if each.outcome in ("failed", "no test"))

    def measured(self, need: Need) -> str:
        """Say what the tests that rest on a fact came to."""
        tests = [test for each in self.rules for test in each.tests if need in test.mark.needs]
        if not getattr(self.capabilities, need):
            return self.capabilities.support(need)
        if any(test.outcome == "failed" for test in tests):
            return "failed"
        return "shown" if any(test.outcome == "passed" for test in tests) else "not asked"


def examine(
    url: str, *, only: Collection[int] = (), began: Callable[[str], object] = lambda _: None
) -> Examination:
    """Run the suite on media made beside a URL, each for one test, and removed at the end.

    Args:
        only: Numbers of rules; nothing: all.
        began: Called with the name of each test before it begins.

    Raises:
        ConfigurationError: The URL is not legal, or of a kind of which no scratch medium can be made.
        OSError: No scratch medium can be made there.
        KeyboardInterrupt: The suite was interrupted; the media are removed.
    """
    capabilities = EmbeddedBus(url, clock=VirtualClock()).capabilities
    wanted = tuple(rule for number, rule in RULES.items() if not only or number in only)
    with scratch(url) as media:
        examiner = _Examiner(media.urls, {rule.number for rule in wanted}, began)
        _run(examiner)
    rules = []
    for rule in wanted:
        tests = tuple(trial for trial in examiner.results if trial.mark.rule is rule)
        rules.append(RuleResult(rule, tests, all(getattr(capabilities, need) for need in rule.needs)))
    return Examination(capabilities, tuple(rules), media.folder)


def rule_number(text: str) -> int:
    """Read the name of a rule, `C-07`.

    Raises:
        ConfigurationError: There is none of this name.
    """
    digits = text.upper().removeprefix("C").removeprefix("-")
    if not digits.isdecimal() or int(digits) not in RULES:
        last = list(RULES.values())[-1].name
        raise ConfigurationError(f"there is no rule {text!r}: they are C-01 to {last}")
    return int(digits)


@dataclass(slots=True)
class _Examiner:
    """A plugin of pytest that hands out media and takes down results."""

    media: Iterator[str]
    wanted: set[int]
    began: Callable[[str], object]
    results: list[Trial] = field(default_factory=list)
    _marks: dict[str, Mark] = field(default_factory=dict)

    @pytest.fixture
    def waystation_medium(self) -> str:
        """Return a URL at which nothing is."""
        return next(self.media)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests of the rules that are wanted."""
        kept = []
        for item in items:
            mark = mark_of(getattr(item, "obj", None))
            if mark is not None and mark.rule.number in self.wanted:
                kept.append(item)
                self._marks[item.nodeid] = mark
        items[:] = kept

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Run a test."""
        self.began(pyfuncitem.name)
        return items.call(pyfuncitem)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down how a test ended: at its call, or where it got no further."""
        if report.when == "call" or report.outcome != "passed":
            outcomes: dict[str, Outcome] = {"skipped": "not claimed", "failed": "failed", "passed": "passed"}
            name = report.nodeid.partition("::")[2].partition("::")[2]
            detail = report.longreprtext if report.failed else ""
            mark = self._marks[report.nodeid]
            self.results.append(Trial(name, mark, outcomes[report.outcome], report.duration, detail))


def _run(examiner: Any) -> None:
    output = io.StringIO()
    # Nothing of the user's: neither his settings nor his plugins, which may run tests in another way.
    arguments = [str(_SUITE), "-c", os.devnull, "--rootdir", str(_SUITE.parent), "--noconftest"]
    arguments += ["-p", "no:cacheprovider", "--import-mode=importlib", "--tb=short", "--color=no"]
    before = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        with contextlib.redirect_stdout(output):
            status = pytest.main(arguments, plugins=[examiner])
    finally:
        if before is None:
            del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        else:
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = before
    if status == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise ConfigurationError(f"pytest could not run the suite:\n{output.getvalue()}")
