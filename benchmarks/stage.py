"""Django with one model on every database that is compared: an object, D1 twice, and a local sqlite3 file."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any
from unittest import mock

from websockets.sync.client import connect
from websockets.typing import Subprotocol

from do_bridge.driver.transports.relay_socket import RelaySocket
from do_bridge.relay import LocalRelay

D1_IDS = [f"d0b41d9e-0000-4000-8000-00000000000{number}" for number in (1, 2)]


def set_up(worker: LocalRelay, folder: Path) -> Any:
    """Configure Django and make the table on all of them; returns the model."""
    import django
    from django.conf import settings

    relay = {"HOST": worker.url, "PASSWORD": worker.token}
    settings.configure(
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "local.sqlite3"},
            "object": {"ENGINE": "do_bridge.backends.durable_object", "NAME": "benchmark", **relay},
            "d1": {
                "ENGINE": "do_bridge.backends.d1",
                "NAME": D1_IDS[0],
                "OPTIONS": {"transport": "relay"},
                **relay,
            },
            "rest": {
                "ENGINE": "do_bridge.backends.d1",
                "NAME": D1_IDS[1],
                "HOST": worker.api_base,
                "PASSWORD": worker.token,
                "OPTIONS": {"transport": "rest"},
            },
        },
        INSTALLED_APPS=["do_bridge"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()
    item = model()
    from django.db import connections

    for alias in ("default", "object", "d1", "rest"):
        with connections[alias].schema_editor() as editor:
            editor.create_model(item)
    return item


def model() -> Any:
    """A model with six columns beside its key."""
    from django.db import models

    class Item(models.Model):
        name = models.CharField(max_length=100)
        number = models.IntegerField(db_index=True)
        amount = models.DecimalField(max_digits=12, decimal_places=2)
        done = models.BooleanField(default=False)
        moment = models.DateTimeField()
        note = models.TextField()

        class Meta:
            app_label = "benchmarks"

    return Item


def rows(item: Any, count: int) -> list[Any]:
    """New objects, not saved."""
    start = datetime.datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=datetime.UTC)
    return [
        item(
            name=f"item number {number}",
            number=number,
            amount=decimal.Decimal(number) / 100,
            done=number % 3 == 0,
            moment=start + datetime.timedelta(minutes=number),
            note="some words that a person might have written here",
        )
        for number in range(count)
    ]


def unsaved(objects: list[Any]) -> list[Any]:
    """The same objects, as if they had never been saved."""
    for made in objects:
        made.pk = None
        made._state.adding = True
    return objects


class Bare:
    """A WebSocket to the relay that sends recorded frames: no driver, no Django, no JSON."""

    def __init__(self, worker: LocalRelay) -> None:
        self._socket = connect(
            worker.url.replace("http", "ws", 1) + "/v1/session",
            additional_headers={"Authorization": f"Bearer {worker.token}"},
            subprotocols=[Subprotocol("do-bridge.v1")],
            compression=None,
            max_size=None,
        )

    def exchange(self, frames: list[bytes]) -> None:
        """Send each frame and take its answer."""
        for frame in frames:
            self._socket.send(frame, text=True)
            self._socket.recv()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def recorded(work: Any) -> list[bytes]:
    """Run `work` and return the frames that it sent to the relay."""
    frames: list[bytes] = []
    send = RelaySocket.send

    def note(self: RelaySocket, message: bytes, timeout: float) -> None:
        frames.append(message)
        send(self, message, timeout)

    with mock.patch.object(RelaySocket, "send", note):
        work()
    return frames
