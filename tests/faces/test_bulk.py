"""`procession jobs retry|cancel|remove --filter`, as a real process whose terminal is watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from procession import Procession

MANY = 10_000


def test_a_bulk_that_is_stopped_half_way_is_written_down_with_what_it_changed(valkey_url: str, namespace: str) -> None:
    app = Procession(valkey_url, namespace=namespace)

    @app.job(name="shop.send")
    def send(number: int) -> None: ...

    app.enqueue_many(send.bind(number) for number in range(MANY))
    terminal, theirs = os.openpty()
    words = ["jobs", "remove", "--filter", "job:send", "--yes", "--url", valkey_url, "--namespace", namespace]
    try:
        with subprocess.Popen([sys.executable, "-m", "procession", *words], stderr=theirs) as process:
            shown = b""
            while b"looked at" not in shown:
                shown += os.read(terminal, 1_000)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 1
        (deed,) = app.trail()
        assert (deed.what, deed.on, deed.via) == ("remove", "job:send", "cli")
        assert 0 < deed.changed <= MANY - app.counts().queued < MANY  # one trip may have been under way
    finally:
        os.close(terminal)
        os.close(theirs)
        app.flush(confirm=namespace)
        app.close()
