import pytest

from waystation._core.errors import (
    DecodeError,
    MissingExtra,
    NoResponder,
    RequestFailed,
    RequestTimeout,
    SendRejected,
    StoreCorrupt,
    UnsupportedCapability,
)
from waystation._core.exitcode import ExitCode, exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MissingExtra("pip install it"), ExitCode.USAGE),
        (UnsupportedCapability("no", capability="groups", transport="memory"), ExitCode.USAGE),
        (RequestTimeout("late"), ExitCode.NO_ANSWER),
        (NoResponder("nobody"), ExitCode.NO_ANSWER),
        (RequestFailed("no", reason="KeyError"), ExitCode.REFUSED),
        (SendRejected("full"), ExitCode.FAILURE),
        (StoreCorrupt("damaged"), ExitCode.FAILURE),
        (DecodeError("odd"), ExitCode.FAILURE),
        (FileNotFoundError("gone"), ExitCode.FAILURE),
    ],
)
def test_an_error_has_the_exit_status_that_scripts_expect(error: Exception, code: ExitCode) -> None:
    assert exit_code(error) == code


def test_the_numbers_are_documented_and_stay() -> None:
    assert [(code.value, code.name) for code in ExitCode] == [
        *((0, "OK"), (1, "FAILURE"), (2, "USAGE")),
        *((3, "ABANDONED"), (4, "NO_ANSWER"), (5, "REFUSED")),
    ]
