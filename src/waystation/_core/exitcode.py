"""What a process says with its exit status: read by scripts, by service managers, and by the supervisor."""

from __future__ import annotations

import enum

from .errors import ConfigurationError, NoResponder, RequestFailed, RequestTimeout


class ExitCode(enum.IntEnum):
    """The exit status of every command."""

    OK = 0  #: done
    FAILURE = 1  #: it failed, or nothing was found
    USAGE = 2  #: the command, a URL or the program is wrong; trying again changes nothing
    ABANDONED = 3  #: stopped, but handlers were cut off at the deadline; their messages come again
    NO_ANSWER = 4  #: a request was not answered in time, or nobody answers there
    REFUSED = 5  #: a request was answered with an error


def exit_code(error: BaseException) -> ExitCode:
    """Return the status that tells of an error."""
    if isinstance(error, ConfigurationError):
        return ExitCode.USAGE
    if isinstance(error, (RequestTimeout, NoResponder)):
        return ExitCode.NO_ANSWER
    return ExitCode.REFUSED if isinstance(error, RequestFailed) else ExitCode.FAILURE
