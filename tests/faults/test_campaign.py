"""The short tier: processes killed, power cut, disks filled, clocks turned, at random; nothing accepted is lost."""

from __future__ import annotations

import pytest

from waystation.testing.checkers import Verdict

from .campaign import PARTS, Report, campaign
from .judge import Finding, Tally

SHORT = [name for name, part in PARTS.items() if "pr" in part.sizes]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", SHORT)
def test_faults_lose_nothing_and_break_nothing(name: str) -> None:
    if reason := PARTS[name].why_not():
        pytest.skip(reason)
    report = campaign("pr", seed=None, only=[name], rounds=None, show=print)
    print(report.sentence())
    assert report.verdict is Verdict.VALID, [finding.problems for finding in report.findings]


def finding(verdict: Verdict, **counts: int) -> Finding:
    return Finding(part="kills", seed=7, verdict=verdict, problems=(), tally=Tally(**counts))


def test_a_report_adds_up_and_says_so_in_a_sentence() -> None:
    runs = [
        finding(Verdict.VALID, kills=400, accepted=1_000_000),
        finding(Verdict.VALID, cuts=200, accepted=9, duplicated=5),
    ]
    report = Report("faults", runs, {}, 1.0)
    assert report.verdict is Verdict.VALID
    assert report.sentence().startswith(
        "sqlite: 0 of 1,000,009 accepted messages lost over 400 kills and 200 power cuts (bound per event at 95 %: "
        "kills 0.75%, power cuts 1.50%); 5 duplicates"
    )
    assert report.as_json()["total"]["accepted"] == 1_000_009


@pytest.mark.parametrize(
    ("verdicts", "skipped", "expected"),
    [
        ([Verdict.VALID, Verdict.INVALID, Verdict.UNKNOWN], {}, Verdict.INVALID),
        ([Verdict.VALID, Verdict.UNKNOWN], {}, Verdict.UNKNOWN),
        ([Verdict.VALID], {"cuts": "only root can mount a disk"}, Verdict.UNKNOWN),
        ([Verdict.VALID], {}, Verdict.VALID),
    ],
)
def test_a_campaign_is_as_good_as_its_worst_run(
    verdicts: list[Verdict], skipped: dict[str, str], expected: Verdict
) -> None:
    assert Report("pr", [finding(each) for each in verdicts], skipped, 1.0).verdict is expected
