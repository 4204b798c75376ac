"""What the results of the suite add up to, and what is left of its media."""

from pathlib import Path

import pytest

from waystation import ConfigurationError
from waystation._core.capabilities import Capabilities
from waystation._core.delivery import Durability
from waystation.testing.conformance import RULES, Mark
from waystation.testing.examination import Examination, Outcome, RuleResult, Trial, rule_number
from waystation.testing.scratch import scratch

CLAIMED = Capabilities(name="pigeon", send=Durability.SENT, groups=True, ordered_by_key=True)


def result(number: int, *outcomes: Outcome, claimed: bool = True) -> RuleResult:
    mark = Mark(RULES[number], RULES[number].needs)
    return RuleResult(RULES[number], tuple(Trial("t", mark, each, 0.5) for each in outcomes), claimed)


def test_a_rule_is_as_good_as_its_worst_test() -> None:
    assert result(2, "passed", "failed").outcome == "failed"
    assert result(2, "passed", "not claimed").outcome == "passed"
    assert result(2, "not claimed").outcome == "not claimed"
    assert result(2, "passed", "passed").seconds == 1.0


def test_a_claim_that_no_test_asks_is_not_kept() -> None:
    found = Examination(CLAIMED, (result(2), result(18, "passed"), result(27, claimed=False)), None)
    assert [each.rule.number for each in found.failed] == [2]


def test_what_was_measured_is_said_of_each_fact() -> None:
    found = Examination(CLAIMED, (result(2, "passed"), result(18, "passed", "failed")), None)
    assert found.measured("groups") == "shown"
    assert found.measured("ordered_by_key") == "failed"
    assert found.measured("transactions") == "refused"
    assert found.measured("expiry") == "added"
    assert Examination(CLAIMED, (), None).measured("groups") == "not asked"


@pytest.mark.parametrize("text", ["C-07", "c07", "7", "C-7"])
def test_a_rule_is_found_by_its_name(text: str) -> None:
    assert rule_number(text) == 7


@pytest.mark.parametrize("text", ["C-99", "C-00", "seven", ""])
def test_a_rule_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="they are C-01 to C-"):
        rule_number(text)


def test_scratch_media_are_beside_the_file_and_gone_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "shop.db").write_text("mine", encoding="utf-8")
    with scratch(f"sqlite:///{tmp_path}/shop.db?settle=flushed") as media:
        first, second = next(media.urls), next(media.urls)
        assert media.folder is not None
        assert media.folder.parent == tmp_path
        assert first == f"sqlite:///{media.folder}/1.db?settle=flushed"
        assert first != second
        (media.folder / "1.db").touch()
    assert [file.name for file in tmp_path.iterdir()] == ["shop.db"]
    assert (tmp_path / "shop.db").read_text(encoding="utf-8") == "mine"


def test_a_medium_of_which_there_is_no_other_is_not_examined() -> None:
    with (
        pytest.raises(ConfigurationError, match="TransportConformance, which says so"),
        scratch("tcp://x"),
    ):
        raise AssertionError
