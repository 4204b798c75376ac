"""Why a broker turns a program away: found out by a few bytes of our own, since the driver cannot say.

A broker ends a connection without a word if it is not spoken to as its listener wants; and what the driver says of a
certificate names none of our options. So when the driver has failed, somebody goes and looks. No secret is shown.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from ..._core.errors import Refused
from .driver import Told, kafka_error, translate
from .limits import ASK_S, LOOK_BROKERS_MAX, LOOK_S, OPEN_S
from .options import Caller, Options

T = TypeVar("T")

#: Requests without content, by number and version: `ApiVersions`, which every broker answers whoever asks, and
#: `Metadata` of no topic, which it answers to those that it has let in.
_HELLO: Final = (18, 0, b"")
_WHO_IS_THERE: Final = (3, 1, struct.pack(">i", 0))

#: By which an answer is known.
_MINE: Final = 20_260

_AUTHORITY: Final = "give the authority that signed it (tls_ca=FILE)"
_NAME: Final = "write the broker's address as its certificate has it, or give the broker one for this address"

#: What to change, by OpenSSL's number for what is wrong with a certificate (X509_V_ERR_…).
_ADVICE: Final = {
    9: "it is not valid yet: is one of the two clocks wrong?",
    10: "the broker needs a new one",
    62: _NAME,
    64: _NAME,
}


def in_parts(ask: Callable[[float], T], refusal: Callable[[], Refused | None]) -> T:
    """Ask when connecting, for `ASK_S` in all; give up after a part if going on is in vain. Blocks.

    Args:
        ask: Asks, and waits so many seconds.
        refusal: Says why it is in vain; None: it is not known to be.

    Raises:
        Refused: It is.
        Exception: What was raised last.
    """
    for patience_s in OPEN_S:
        try:
            return ask(patience_s)
        except Exception as error:
            if kafka_error(error) is None:
                raise
            if (refused := refusal()) is not None:
                raise refused from error
    return ask(ASK_S - sum(OPEN_S))


def refusal_of(complaints: Iterable[Any], options: Options) -> Refused | None:
    """Find out, after the driver has failed, whether this program will never be let in as it is. Blocks.

    Args:
        complaints: The driver's errors.
    """
    told = [translate(Told(each), "connecting", options.servers) for each in complaints]
    certain = next((each for each in told if isinstance(each, Refused)), None)
    if certain is not None and options.caller.tls is None:
        return certain
    why = None
    for address in options.addresses[:LOOK_BROKERS_MAX]:
        found = why_turned_away(*address, options.caller)
        if found is None:  # it may let us in yet
            return certain
        why = why or found
    return Refused(str(why))  # of certificates it has more to say than the driver


def why_turned_away(host: str, port: int, caller: Caller) -> str | None:
    """Say what a program must change to be let in by a broker; None: nothing that could be found out.

    Blocks, for `LOOK_S` if nobody answers.
    """
    address = f"kafka://{host}:{port}"
    try:
        with _connected(host, port) as line:
            try:
                return _as_it_comes(line, host, address, caller)
            except ssl.SSLCertVerificationError as error:
                advice = _ADVICE.get(error.verify_code, _AUTHORITY)
                return f"the certificate of {address} is not accepted: {error.verify_message.rstrip('.')}; {advice}"
            except ssl.SSLError as error:
                if "ALERT" in (error.reason or "") and "CERTIFICATE" in (error.reason or ""):
                    return _about_papers(address, caller)
            except TimeoutError:
                return None
            except OSError:
                pass  # it has hung up: does it expect the other way of speaking?
        with _connected(host, port) as line:
            return _the_other_way(line, address, caller)
    except OSError:
        return None


def _connected(host: str, port: int) -> socket.socket:
    return socket.create_connection((host.strip("[]"), port), LOOK_S)


def _as_it_comes(line: socket.socket, host: str, address: str, caller: Caller) -> str | None:
    """Say what is missing, spoken to as the driver does.

    Raises:
        OSError: The broker does not understand that.
    """
    if caller.tls is None:
        return _what_is_missing(line, address, caller)
    with caller.tls.wrap_socket(line, server_hostname=host.strip("[]")) as covered:
        return _what_is_missing(covered, address, caller)


def _what_is_missing(line: socket.socket, address: str, caller: Caller) -> str | None:
    _ask(line, *_HELLO)
    if caller.has_password:
        return None
    try:
        _ask(line, *_WHO_IS_THERE)
    except TimeoutError:
        return None
    except OSError:
        return f"{address} wants to know who asks: give a user and password (kafka://user:password@...), and sasl="
    return None


def _the_other_way(line: socket.socket, address: str, caller: Caller) -> str | None:
    if caller.tls is not None:
        _ask(line, *_HELLO)
        return f"{address} speaks no TLS: name the port at which it does, or leave out tls=on and tls_...="
    stranger = ssl.SSLContext(
        ssl.PROTOCOL_TLS_CLIENT
    )  # its certificate is not believed, and nothing is told to it
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    try:
        stranger.wrap_socket(line).close()
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            return None
    return f"{address} speaks TLS: say tls=on, with tls_ca=FILE if an authority of your own signed its certificate"


def _about_papers(address: str, caller: Caller) -> str:
    if caller.has_paper:
        return f"{address} does not accept tls_cert=: it must be of an authority that the broker trusts"
    return (
        f"{address} wants a certificate of this program: give one, and its key (tls_cert=FILE&tls_key=FILE)"
    )


def _ask(line: socket.socket, number: int, version: int, content: bytes) -> None:
    """Ask something, and wait for the beginning of an answer.

    Raises:
        OSError: None comes.
    """
    body = struct.pack(">hhih", number, version, _MINE, -1) + content
    line.sendall(struct.pack(">i", len(body)) + body)
    answer = b""
    while len(answer) < 8:
        more = line.recv(8 - len(answer))
        if not more:
            raise ConnectionResetError("the broker hung up")
        answer += more
    if struct.unpack(">i", answer[4:8])[0] != _MINE:
        raise ConnectionResetError("this is no broker")
