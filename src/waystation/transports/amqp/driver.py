"""The driver, found when a connection is made, and what its errors and refusals mean to people."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..._core.errors import ConfigurationError, Disconnected, Refused, TransportError
from ..._core.extras import import_driver
from .options import Options


class Driver:
    """What `pamqp` gives: the methods of AMQP as classes, and frames from and to bytes.

    Raises:
        MissingExtra: It is not installed.
    """

    def __init__(self) -> None:
        self.commands: Any = self._module("commands")
        frame: Any = self._module("frame")
        self.marshal, self.unmarshal = frame.marshal, frame.unmarshal

    @staticmethod
    def _module(name: str) -> ModuleType:
        return import_driver(f"pamqp.{name}", extra="amqp")


class Closed(Exception):
    """The server closed a channel or a connection, and said why.

    Attributes:
        code: AMQP's: 404 is not found, 406 something that is there is different.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class Gone(Disconnected):
    """A queue or an exchange is not there."""


def refusal(closed: Closed, options: Options) -> TransportError | ConfigurationError:
    """Return what it means that a server ended a greeting, in a sentence with the way out."""
    where = f"RabbitMQ at {options.host}:{options.port}"
    if closed.code == 403 and "login" in closed.text.lower():
        return Refused(
            f"{where} does not let the user {options.user!r} in: check the name and the password in the URL "
            "(and that this user may log in from here: 'guest' may from the server's own machine only)"
        )
    if closed.code == 530 and "not found" in closed.text:
        return Refused(
            f"{where} has no virtual host {options.vhost!r}: make it with "
            f"'rabbitmqctl add_vhost {options.vhost}', or correct the URL's path"
        )
    if closed.code in (403, 530):
        return Refused(
            f"{where} does not let the user {options.user!r} into the virtual host {options.vhost!r}: "
            f'\'rabbitmqctl set_permissions -p {options.vhost} {options.user} ".*" ".*" ".*"\''
        )
    return Disconnected(f"{where} ended the connection: {closed}")


def trouble(closed: Closed, options: Options, doing: str) -> TransportError | ConfigurationError:
    """Return what it means that a server closed a channel while something was done."""
    where = f"RabbitMQ at {options.host}:{options.port}"
    if closed.code == 403:
        own = f"^{options.prefix}([.:].*)?$"
        return Refused(
            f"{where} does not allow the user {options.user!r} what {doing} needs ({closed.text}): "
            f"rabbitmqctl set_permissions -p {options.vhost} {options.user} '{own}' "
            f"'^({options.prefix}([.:].*)?|amq\\.default)$' '{own}'"
        )
    if closed.code == 406:
        return ConfigurationError(
            f"{where} has something of this name that was made differently ({closed.text}): "
            "delete it, or use another ?prefix="
        )
    kind = Gone if closed.code == 404 else Disconnected
    return kind(f"{where} ended {doing}: {closed}")
