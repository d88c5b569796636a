"""`procession worker --health`: probes and a scaling signal over HTTP, answered by the supervisor's process.

`/livez` and `/readyz` come from the condition that the supervisor tells; only `/scaling` asks the store. `/metrics`
gives what the worker processes have counted, where prometheus-client collects it (`PROMETHEUS_MULTIPROC_DIR`). A few
threads of the standard library's server: it is for a kubelet and a scaler, not for a browser.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import msgspec

from procession.client import Procession
from procession.clock import monotonic, wall
from procession.errors import ConfigError, DatabaseError
from procession.runtime.condition import Condition
from procession.scaling import scaling

log = logging.getLogger("procession.worker")

LATE = 15.0
"""Seconds without a look of the supervisor after which it does not count as alive."""
AT_ONCE = 16
"""Most requests that are answered at the same time; further ones are hung up on."""
PATIENCE = 5.0
"""Seconds that a client may take to send its request."""


class Answer(msgspec.Struct, frozen=True):
    """What one request gets: JSON, or a text of another kind."""

    status: HTTPStatus
    body: dict[str, Any] | msgspec.Struct | bytes
    kind: str = "application/json"


class HealthServer:
    """A context manager that serves while it is entered, and takes the supervisor's condition when called.

    Args:
        app: whose store `/scaling` asks.
        address: `host:port` or `port`, then on 127.0.0.1; port 0 takes a free one.

    Raises:
        ConfigError: it cannot listen there.
    """

    def __init__(self, app: Procession, address: str) -> None:
        self._app = app
        self._condition = Condition(places=0, serving=0)
        self._looked = monotonic()
        health = self

        class Handler(BaseHTTPRequestHandler):
            timeout = PATIENCE

            def do_GET(self) -> None:
                answer = health.answer(self.path)
                body = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body) + b"\n"
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *words: Any) -> None:  # noqa: A002  # the name that it has there
                """A probe each few seconds is no news."""

        host, port = _parted(address)
        try:
            self._server = _Server((host, port), Handler)
        except OSError as error:
            raise ConfigError(f"--health {address}: cannot listen there: {error}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="procession-health", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        host, port = self._server.server_address[:2]
        log.info("answering /livez, /readyz and /scaling at %s:%d", str(host), port)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __call__(self, condition: Condition) -> None:
        """The supervisor has looked, and this is how it is."""
        self._condition, self._looked = condition, monotonic()

    def answer(self, target: str) -> Answer:
        """What a GET of this target gets."""
        parts, condition = urlsplit(target), self._condition
        silent = monotonic() - self._looked
        match parts.path:
            case "/livez":
                return _said(silent < LATE, {"looked": round(silent, 1)})
            case "/readyz":
                ready = silent < LATE and condition.serving > 0 and not condition.stopping
                return _said(ready, msgspec.structs.asdict(condition))
            case "/scaling":
                try:
                    queues = self._app.queues()
                except DatabaseError as error:
                    return _said(False, {"error": str(error)})
                return Answer(HTTPStatus.OK, scaling(queues, wall(), parse_qs(parts.query).get("queue", ())))
            case "/metrics" if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
                return _counted()
        return Answer(HTTPStatus.NOT_FOUND, {"error": "there are /livez, /readyz and /scaling"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no thread to give, now
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hung up is no error of ours."""


def _said(well: bool, body: dict[str, Any]) -> Answer:
    return Answer(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, body)


def _counted() -> Answer:
    try:
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector
    except ImportError:
        return _said(False, {"error": 'pip install "procession[prometheus]"'})
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Answer(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)


def _parted(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"--health {address}: write a port, or host:port, such as 0.0.0.0:8687")
    return host.strip("[]") or "127.0.0.1", int(port)
