"""Traces, errors, metrics and log fields with the real libraries: what they get to know of a job's life."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
import structlog
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from prometheus_client import CollectorRegistry
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

from procession import ConfigError, Procession, Snooze, current_job
from procession.integrations.logs import JobFields, add_job
from procession.integrations.opentelemetry import Tracing
from procession.integrations.prometheus import JobMetrics
from procession.integrations.sentry import SentryErrors
from tests.web.conftest import perform

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest, namespace: str) -> Iterator[Procession]:
    url = f"memory://{namespace}" if request.param == "memory" else request.getfixturevalue("valkey_url")
    app = Procession(url, namespace=namespace, retry=False)
    yield app
    app.flush(confirm=namespace)
    app.close()


class Traced:
    """The spans of a provider, by name."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def __getitem__(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def traced() -> Traced:
    return Traced()


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Any] = []
        self.flushed = 0

    def flush(self, timeout: float, callback: Any = None) -> None:
        self.flushed += 1

    def capture_envelope(self, envelope: Envelope) -> None:
        self.items += [item.payload.json for item in envelope.items if item.type in ("event", "transaction")]


@pytest.fixture
def sentry() -> Iterator[Kept]:
    kept = Kept()
    dsn = "https://key@example.invalid/1"
    sentry_sdk.init(dsn=dsn, transport=kept, traces_sample_rate=1.0, default_integrations=False)
    yield kept
    sentry_sdk.get_client().close()
    sentry_sdk.init()


# Headers


def test_headers_travel_with_the_job_and_are_bounded(app: Procession) -> None:
    @app.job(name="seen")
    def seen() -> dict[str, str]:
        return dict(current_job().headers)

    handle = seen.using(headers={"request": "r-42"}).enqueue()
    plain = seen.enqueue()
    perform(app)
    assert handle.result(timeout=5) == handle.job().headers == {"request": "r-42"}
    assert plain.result(timeout=5) == {}
    for wrong in ({"a": 1}, {"a": "x" * 5_000}, {f"n{n}": "" for n in range(17)}, "text"):
        with pytest.raises(ConfigError, match="headers"):
            seen.using(headers=wrong).enqueue()  # type: ignore[arg-type]


# OpenTelemetry


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_run_is_in_the_trace_of_its_enqueue_and_its_own_spans_are_within(
    app: Procession, traced: Traced, kind: str
) -> None:
    app.use(Tracing(traced.provider))
    tracer = traced.provider.get_tracer("shop")

    def body() -> None:
        with tracer.start_as_current_span("inside"):
            assert get_current_span().is_recording()

    if kind == "def":
        job = app.job(name="shop.work", queue="mail")(body)
    else:

        async def work() -> None:
            await asyncio.sleep(0)
            body()

        job = app.job(name="shop.work", queue="mail")(work)  # type: ignore[assignment]
    with tracer.start_as_current_span("request"):
        handle = job.enqueue()
    perform(app)
    [request], [send], [process], [inside] = (
        traced[name] for name in ("request", "send mail", "process mail", "inside")
    )
    assert send.kind is SpanKind.PRODUCER
    assert process.kind is SpanKind.CONSUMER
    spans = (request, send, process, inside)
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    assert [span.parent and span.parent.span_id for span in spans[1:]] == [
        span.context and span.context.span_id for span in spans[:-1]
    ]
    assert dict(process.attributes or {}) == {
        "messaging.system": "procession",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "mail",
        "messaging.message.id": str(handle.jid),
        "messaging.client.id": handle.job().worker or (process.attributes or {})["messaging.client.id"],
        "procession.job.name": "shop.work",
        "procession.job.attempt": 1,
    }
    assert (send.attributes or {})["messaging.message.id"] == str(handle.jid)


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_baggage_reaches_the_run_and_what_it_enqueues_and_nothing_else(
    app: Procession, traced: Traced, kind: str, link: bool
) -> None:
    app.use(Tracing(traced.provider, link=link))
    seen: list[dict[str, object]] = []

    @app.job(name="last")
    def last() -> None:
        seen.append({**baggage.get_all()})

    def first() -> None:
        seen.append({**baggage.get_all()})
        last.enqueue()

    async def first_async() -> None:
        seen.append({**baggage.get_all()})
        await last.enqueue_async()

    job: Any = app.job(name="first")(first if kind == "def" else first_async)
    token = attach(baggage.set_baggage("tenant", "42"))
    try:
        job.enqueue()
    finally:
        detach(token)
    perform(app)
    last.enqueue()
    perform(app)
    assert seen == [{"tenant": "42"}, {"tenant": "42"}, {}]


def test_a_batch_has_a_span_for_each_job_and_none_is_within_another(app: Procession, traced: Traced) -> None:
    app.use(Tracing(traced.provider))

    @app.job(name="n", queue="mail")
    async def n(number: int) -> None: ...

    app.enqueue_many(n.bind(number) for number in range(3))
    perform(app)
    sends, runs = traced["send mail"], traced["process mail"]
    assert [span.parent for span in sends] == [None] * 3
    assert {span.parent.span_id for span in runs if span.parent} == {s.context.span_id for s in sends if s.context}


def test_errors_are_recorded_and_the_job_s_own_choices_are_none(app: Procession, traced: Traced) -> None:
    app.use(Tracing(traced.provider))

    @app.job(name="bad", queue="bad")
    def bad() -> None:
        raise json.JSONDecodeError("no", "", 0)

    @app.job(name="later", queue="later")
    def later() -> None:
        raise Snooze("1h")

    bad.enqueue()
    later.enqueue()
    perform(app)
    [span] = traced["process bad"]
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "json.decoder.JSONDecodeError"
    assert [event.name for event in span.events] == ["exception"]
    [span] = traced["process later"]
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["procession.job.fate"] == "Snooze"


def test_a_run_may_begin_a_trace_that_links_to_the_enqueue(app: Procession, traced: Traced) -> None:
    app.use(Tracing(traced.provider, link=True))

    @app.job(name="n", queue="mail")
    async def n() -> None: ...

    n.enqueue()
    perform(app)
    [send], [process] = traced["send mail"], traced["process mail"]
    assert process.parent is None
    assert [link.context.span_id for link in process.links] == [send.context and send.context.span_id]


FULL = ({"mine": "x" * 4_090}, {f"n{number}": "" for number in range(16)})


@pytest.mark.parametrize("headers", FULL, ids=["long", "many"])
def test_full_headers_cost_the_trace_and_not_the_enqueue(
    app: Procession, traced: Traced, sentry: Kept, headers: dict[str, str]
) -> None:
    app.use(Tracing(traced.provider), SentryErrors())

    @app.job(name="n", queue="mail")
    async def n() -> None: ...

    handle = n.using(headers=headers).enqueue()
    perform(app)
    assert traced["process mail"][0].parent is None
    assert handle.job().headers == headers


@pytest.mark.parametrize("layer", ["opentelemetry", "sentry"])
@pytest.mark.parametrize("headers", [{"a": 1}, "text", 5])
def test_headers_that_cannot_be_kept_are_refused_in_the_same_words_within_layers(
    app: Procession, traced: Traced, sentry: Kept, headers: Any, layer: str
) -> None:
    app.use(Tracing(traced.provider) if layer == "opentelemetry" else SentryErrors())

    @app.job(name="n", queue="mail")
    async def n() -> None: ...

    with pytest.raises(ConfigError, match="must be a dict of strings"):
        n.using(headers=headers).enqueue()
    assert [span.status.status_code for span in traced["send mail"]] == [StatusCode.ERROR] * (layer != "sentry")


def test_an_error_whose_text_cannot_be_made_stays_the_error_of_its_run(app: Procession, traced: Traced) -> None:
    app.use(Tracing(traced.provider))

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @app.job(name="bad", queue="mail")
    def bad() -> None:
        raise Mute

    handle = bad.enqueue()
    perform(app)
    [failure] = handle.job().failures
    assert failure.type.endswith("Mute")
    [span] = traced["process mail"]
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"].endswith("Mute")  # type: ignore[union-attr]


# Sentry


def test_sentry_gets_the_error_with_its_job_and_nothing_of_what_a_job_chose(app: Procession, sentry: Kept) -> None:
    app.use(SentryErrors())

    @app.job(name="bad", queue="mail")
    def bad(secret: str) -> None:
        raise ValueError("no stock")

    @app.job(name="later", queue="mail")
    async def later() -> None:
        raise Snooze("1h")

    with sentry_sdk.start_transaction(name="request") as request:
        handle = bad.enqueue("hush")
        later.enqueue()
    perform(app)
    errors = [item for item in sentry.items if "exception" in item]
    [error] = errors
    assert error["exception"]["values"][-1]["value"] == "no stock"
    assert error["tags"] == {"procession.job": "bad", "procession.queue": "mail"}
    assert error["contexts"]["job"]["jid"] == str(handle.jid)
    assert "hush" not in json.dumps(error["contexts"])
    runs = {item["transaction"]: item for item in sentry.items if item.get("type") == "transaction"}
    assert {"bad", "later"} <= runs.keys()
    assert runs["bad"]["contexts"]["trace"]["trace_id"] == request.trace_id
    assert runs["bad"]["contexts"]["trace"]["status"] == "internal_error"
    assert runs["later"]["contexts"]["trace"]["status"] == "ok"


def test_sentry_gets_a_failure_once_and_what_its_hook_raises_from_the_log(app: Procession, sentry: Kept) -> None:
    dsn = sentry_sdk.get_client().options["dsn"]
    sentry_sdk.init(dsn=dsn, transport=sentry, default_integrations=False, integrations=[LoggingIntegration()])
    app.use(SentryErrors())

    def tell(failure: Any) -> None:
        raise LookupError("whom?")

    @app.job(name="bad", queue="mail", on_exhausted=tell)
    def bad() -> None:
        raise ValueError("no stock")

    bad.enqueue()
    perform(app)
    errors = [item["exception"]["values"][-1]["type"] for item in sentry.items if "exception" in item]
    assert sorted(errors) == ["LookupError", "ValueError"]
    assert not [item for item in sentry.items if "logentry" in item and "exception" not in item]


def test_sentry_gets_a_timeout_under_its_own_name(app: Procession, sentry: Kept) -> None:
    app.use(SentryErrors())

    @app.job(name="slow", queue="mail", timeout=0.05)
    async def slow() -> None:
        await asyncio.Event().wait()

    handle = slow.enqueue()
    perform(app)
    [error] = [item for item in sentry.items if "exception" in item]
    [seen] = error["exception"]["values"]
    assert seen["type"] == handle.job().failures[0].type == "JobTimeout"
    assert "slow" in [frame["function"] for frame in seen["stacktrace"]["frames"]]  # where it was


# Prometheus


def test_enqueues_and_runs_are_counted_by_outcome(app: Procession) -> None:
    registry = CollectorRegistry()
    app.use(JobMetrics(registry))

    @app.job(name="work", queue="mail")
    async def work(how: str) -> None:
        if how == "bad":
            raise ValueError(how)
        if how == "later":
            raise Snooze("1h")

    for how in ("good", "good", "bad", "later"):
        work.enqueue(how)
    jid = "0198c0de-0000-7000-8000-000000000000"
    work.using(jid=jid, delay="1h").enqueue("good")
    work.using(jid=jid, delay="1h").enqueue("good")
    perform(app)

    def sample(name: str, outcome: str) -> float | None:
        return registry.get_sample_value(name, {"job": "work", "queue": "mail", "outcome": outcome})

    assert [sample("procession_enqueues_total", it) for it in ("stored", "duplicate")] == [5.0, 1.0]
    counted = {it: sample("procession_run_seconds_count", it) for it in ("returned", "raised", "snooze")}
    assert counted == {"returned": 2.0, "raised": 1.0, "snooze": 1.0}


# Log fields


def test_lines_of_a_job_carry_its_fields_and_others_carry_none(app: Procession) -> None:
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.addFilter(JobFields())
    handler.setFormatter(logging.Formatter("%(message)s|%(jid)s|%(job)s|%(queue)s|%(attempt)s"))
    logger = logging.getLogger("shop.lines")
    logger.addHandler(handler)
    logger.setLevel("INFO")

    @app.job(name="work", queue="mail")
    async def work() -> None:
        await asyncio.to_thread(logger.info, "inside")

    try:
        logger.info("outside")
        handle = work.enqueue()
        perform(app)
        logger.info("mine", extra={"job": "another"})
    finally:
        logger.removeHandler(handler)
    assert lines.getvalue().splitlines() == [
        "outside||||", f"inside|{handle.jid}|work|mail|1", "mine||another||",
    ]  # fmt: skip


def test_structlog_s_events_carry_them_too(app: Procession) -> None:
    written = io.StringIO()
    renderer = structlog.processors.JSONRenderer()
    logger = structlog.wrap_logger(structlog.PrintLogger(written), processors=[add_job, renderer])

    @app.job(name="work", queue="mail")
    def work() -> None:
        logger.info("inside", attempt="mine")

    handle = work.enqueue()
    logger.info("outside")
    perform(app)
    outside, inside = map(json.loads, written.getvalue().splitlines())
    assert outside == {"event": "outside"}
    assert inside == {
        "event": "inside", "jid": str(handle.jid), "job": "work", "queue": "mail", "attempt": "mine",
    }  # fmt: skip


# The page


def test_the_examples_of_the_page_run(namespace: str) -> None:
    before = structlog.get_config()
    text = PAGE.read_text("utf-8").replace("memory://shop", f"memory://{namespace}")
    text = text.replace("init(dsn=None)", "init(dsn='https://key@example.invalid/1', transport=sent)")
    sent = Kept()
    examples: dict[str, Any] = {"__name__": "shop.jobs", "sent": sent}
    try:
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(compile(block, str(PAGE), "exec"), examples)
        perform(examples["app"])
        assert examples["app"].stats().processed == 1
        assert sent.flushed  # by the lifespan, before the process may end
    finally:
        structlog.configure(**before)
        logging.getLogger("shop").removeHandler(examples["handler"])
        sentry_sdk.get_client().close()
        sentry_sdk.init()
