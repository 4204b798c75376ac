"""Celery on RabbitMQ and Redis: late acknowledgements, confirmed publishes, no results, a worker of one process.

Nothing of it stays behind: the worker neither gossips nor takes remote commands, for which it would make queues.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from celery import Celery
from kombu import Exchange, Queue

from ..bare.amqp import QUORUM
from ..ends import Consuming, Ends, Producing
from ..processes import Channel

TASK = "bench.handle"


class CeleryEnds:
    """A task.

    Args:
        transport: What the client of the broker is told, beside the name.
        queue: What the queue is declared with.
    """

    def __init__(self, transport: Mapping[str, Any], queue: Mapping[str, Any]) -> None:
        self._transport, self._queue = transport, queue

    def consume(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Handle in a worker, whose process ends with the last message; its acknowledgement is not waited for."""
        consuming = Consuming(channel, total)
        app = self._app(url, name)

        def handle(body: str) -> None:
            consuming.take(body.encode())
            if consuming.complete:
                consuming.end()
                os._exit(0)  # told to stop, a worker may first wait for something more to do

        def ready(_: object) -> None:
            consuming.ready()

        app.task(name=TASK, acks_late=True, ignore_result=True)(handle)
        worker = app.WorkController(
            ready_callback=ready,
            pool_cls="solo",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            loglevel="ERROR",
        )
        worker.start()

    def produce(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Publish, each message after the one before has been confirmed: it has no other way."""
        encode = msgspec.json.Encoder().encode
        producing = Producing(channel, total)
        app = self._app(url, name)
        with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
            task = app.signature(TASK)
            producing.begin()
            for order in producing.orders:
                task.apply_async((encode(order).decode(),), producer=producer)
            producing.end()

    def _app(self, url: str, name: str) -> Celery:
        app = Celery(broker=url, set_as_current=False)
        app.conf.update(
            broker_transport_options={"global_keyprefix": name, **self._transport},
            task_queues=[Queue(name, Exchange(name), routing_key=name, queue_arguments=self._queue)],
            task_default_queue=name,
            task_default_exchange=name,
            task_default_routing_key=name,
            worker_prefetch_multiplier=0,
            worker_enable_remote_control=False,
            worker_detect_quorum_queues=False,
            worker_send_task_events=False,
            broker_connection_retry_on_startup=False,
        )
        return app


ENDS: Mapping[str, Ends] = {
    "rabbitmq": CeleryEnds({"confirm_publish": True}, QUORUM),
    "redis": CeleryEnds({}, {}),
}
