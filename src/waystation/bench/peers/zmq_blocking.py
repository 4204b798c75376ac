"""pyzmq's blocking face: DEALER and ROUTER for questions, PUSH and PULL one way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import msgspec
import zmq

from ..asking import WARM_UP_COUNT, check_answer
from ..orders import Order, Tally, make_orders
from ..processes import SILENCE_S_MAX, Channel
from .parts import answerer

ADDRESS = "tcp://127.0.0.1"

#: How often the end that answers looks whether it has been told to end, in ms.
TOLD_POLL_MS = 100

_NS_PER_S = 1_000_000_000
_NS_PER_US = 1000


class ZmqParts:
    """Blocking calls on sockets that belong to one thread."""

    def answer(self, channel: Channel, port: int) -> None:
        """Say the port, and answer each order with itself until told to end."""
        answer = answerer()
        with _socket(zmq.ROUTER) as socket:
            channel.say(socket.bind_to_random_port(ADDRESS))
            told = zmq.Poller()
            told.register(0, zmq.POLLIN)
            socket.rcvtimeo = TOLD_POLL_MS
            while True:
                try:
                    peer, body = socket.recv_multipart()
                except zmq.Again:
                    if told.poll(0):
                        break
                    continue
                socket.send_multipart([peer, answer(body)])
        channel.wait()

    def ask_in_turn(self, channel: Channel, port: int, total: int) -> None:
        """Ask one question after another; say what each took, in µs."""
        with _socket(zmq.DEALER) as socket:
            socket.connect(f"{ADDRESS}:{port}")
            channel.ready()
            _keep_asking(socket, make_orders(0, WARM_UP_COUNT), 1)
            times_ns = _keep_asking(socket, make_orders(0, total), 1)
            channel.say([(end - start) / _NS_PER_US for start, end in pairwise(times_ns)])

    def ask_together(self, channel: Channel, port: int, total: int, in_flight: int) -> None:
        """Keep `in_flight` questions under way; say the round trips per second."""
        with _socket(zmq.DEALER) as socket:
            socket.connect(f"{ADDRESS}:{port}")
            channel.ready()
            _keep_asking(socket, make_orders(0, WARM_UP_COUNT), in_flight)
            times_ns = _keep_asking(socket, make_orders(0, total), in_flight)
            channel.say(total * _NS_PER_S / (times_ns[-1] - times_ns[0]))

    def take(self, channel: Channel, port: int, total: int) -> None:
        """Say the port, take all orders, say when the last one was there, in ns, and stay until told to end."""
        decode = msgspec.json.Decoder(Order).decode
        tally = Tally()
        with _socket(zmq.PULL) as socket:
            channel.say(socket.bind_to_random_port(ADDRESS))
            while tally.count < total:
                tally.add(decode(socket.recv()))
            taken_ns = time.monotonic_ns()
        tally.check(total)
        channel.say(taken_ns)
        channel.wait()

    def tell(self, channel: Channel, port: int, total: int) -> None:
        """Send all orders; say when the first one began, in ns."""
        encode = msgspec.json.Encoder().encode
        with _socket(zmq.PUSH) as socket:
            socket.connect(f"{ADDRESS}:{port}")
            orders = make_orders(0, total)
            channel.ready()
            channel.say(time.monotonic_ns())
            for order in orders:
                socket.send(encode(order))


@contextmanager
def _socket(kind: int) -> Iterator[Any]:
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.rcvtimeo = socket.sndtimeo = int(SILENCE_S_MAX * 1000)
        yield socket


def _keep_asking(socket: Any, orders: list[Order], in_flight: int) -> list[int]:
    """Send a question for each answer; return when the first was sent and each answer had come, in ns."""
    encode = msgspec.json.Encoder().encode
    decode = msgspec.json.Decoder(Order).decode
    times_ns = [time.perf_counter_ns()]
    for order in orders[:in_flight]:
        socket.send(encode(order))
    for answered in range(len(orders)):
        check_answer(answered, decode(socket.recv()))
        times_ns.append(time.perf_counter_ns())
        if answered + in_flight < len(orders):
            socket.send(encode(orders[answered + in_flight]))
    return times_ns


PARTS = ZmqParts()
