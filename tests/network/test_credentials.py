"""Who we are: an ACL user with no right too many, passwords that change, TLS that verifies, and nothing of it
printed."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procession import ConfigError, EnqueueError, Procession, Refused
from procession.config import Settings
from procession.errors import DatabaseError
from procession.runtime.queue_worker import QueueWorker
from tests.network.servers import Server, until
from tests.network.test_lines import kill_clients, shop

pytestmark = pytest.mark.xdist_group("network-credentials")

CANARY = "c4n/ary@%:pw"
QUOTED = "c4n%2Fary%40%25%3Apw"
DOCS = Path(__file__).parents[2] / "docs" / "connecting.md"


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    binary = None
    if request.param == "redis":
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("no redis-server on this machine")
    options = [] if binary else ["--enable-debug-command", "yes"]
    server = Server(*options, binary=binary)
    try:
        yield server.start_with("--port", str(server.port), "--bind", "127.0.0.1", "--save", "", *options)
    finally:
        server.close()


def documented_rights(namespace: str) -> list[str]:
    """The user that docs/connecting.md shows, for another namespace."""
    shown = re.search(r"ACL SETUSER (.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    return shown[1].replace("{procession:", f"{{{namespace}:").replace(">secret", f">{CANARY}").split()


def make_user(server: Server, namespace: str) -> None:
    rights = documented_rights(namespace)
    with server.client() as client:
        known = {name.decode() if isinstance(name, bytes) else name for name in client.command_list()}
        fitting = [it for it in rights if not it.startswith("+") or it[1:] in known]
        client.execute_command("ACL", "SETUSER", *fitting)


def test_the_documented_user_can_do_all_that_a_queue_needs_and_nothing_else(server: Server, namespace: str) -> None:
    make_user(server, namespace)
    app = Procession(server.url, namespace=namespace, username="jobs", password=CANARY, lease=5.0, heartbeat=0.3)

    @app.job(name="work", queue="q", retry=2)
    async def work(n: int) -> int:
        if n < 0:
            raise ValueError("no")
        return n

    async def main() -> None:
        worker = QueueWorker(app)
        running = asyncio.ensure_future(worker.run())
        assert await (await work.enqueue_async(1)).result_async(timeout=10) == 1
        bad = await work.using(attempts=1).enqueue_async(-1)
        delayed = await work.using(delay="200ms", priority=5).enqueue_async(2)
        assert await delayed.result_async(timeout=10) == 2
        far = await work.using(delay="1h").enqueue_async(3)
        assert await far.cancel_async()
        async with asyncio.timeout(10):
            while not (await app.stats_async()).failed:
                await asyncio.sleep(0.02)
        await app.pause_async("q", "rest")
        waiting = await work.enqueue_async(4)
        assert (await app.find_job_async(waiting.jid)) is not None
        assert len(await app.queues_async()) == 1
        assert len(await app.workers_async()) == 1
        assert (await app.peek_async("q")) is not None
        assert (await app.jobs_async("failed")).jobs[0].jid == bad.jid
        assert await app.purge_async("q") == 1
        await app.resume_async("q")
        assert await app.retry_async(bad.jid)
        await app.ask_async(app.database.prune(10))
        await app.ask_async(app.database.recover(10, lease=5_000))
        worker.stop()
        await running
        await app.remove_async(far.jid)
        await app.flush_async(confirm=namespace)
        await app.close_async()

    asyncio.run(main())
    other = Procession(server.url, namespace="another", username="jobs", password=CANARY)
    with pytest.raises(DatabaseError, match="lacks a right"):
        other.stats()
    other.close()
    app.close()


def test_a_token_is_asked_for_before_each_connection(server: Server, namespace: str) -> None:
    tokens = ["first"]
    asked: list[str] = []

    def credentials() -> tuple[str, str]:
        asked.append(tokens[-1])
        return "rotating", tokens[-1]

    def let_in(token: str) -> None:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "rotating", "on", "resetpass", f">{token}", "~*", "+@all")

    let_in("first")
    app = Procession(server.url, namespace=namespace, credentials=credentials)
    app.stats()
    asyncio.run(app.stats_async())
    assert asked == ["first", "first"]
    tokens.append("second")
    let_in("second")
    kill_clients(server)
    app.stats()
    assert asked == ["first", "first", "second"]
    app.flush(confirm=namespace)
    app.close()


def test_credentials_that_hang_or_raise_end_with_the_budget_and_are_named(server: Server, namespace: str) -> None:
    over = threading.Event()

    def hang() -> tuple[str, str]:
        over.wait(30)
        return "", ""

    def fail() -> tuple[str, str]:
        raise LookupError(f"no token for {CANARY}")

    def late() -> tuple[str, str]:
        raise TimeoutError("no token in time")

    def one_text() -> Any:
        return f"ada:{CANARY}"

    for credentials, message in (
        (hang, r"credentials\(\) gave no answer in time; nothing was sent"),
        (fail, r"credentials\(\) raised LookupError"),
        (late, r"credentials\(\) raised TimeoutError"),
        (one_text, r'must return a username \(or ""\) and a password, not str; nothing was sent'),
    ):
        app = Procession(server.url, namespace=namespace, credentials=credentials, budget=0.4)
        since = time.monotonic()
        with pytest.raises(DatabaseError, match=message) as caught:
            app.stats()
        assert CANARY not in str(caught.value)
        with pytest.raises(DatabaseError, match=message):
            asyncio.run(app.stats_async())
        assert time.monotonic() - since < 2
    over.set()

    async def awaited() -> tuple[str, str]:
        return "", ""

    with pytest.raises(ConfigError, match="credentials= must be a plain function"):
        Procession(server.url, credentials=awaited)  # type: ignore[arg-type]


def test_a_password_is_never_printed(
    server: Server, namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    base = server.url.removeprefix("redis://")
    urls = [f"redis://ada:{QUOTED}@{base}", f"redis://{base}/0?password={QUOTED}", f"redis://:{QUOTED}@127.0.0.1:1/"]
    for url in urls:
        app, note = shop(url, namespace)
        seen += [repr(app), repr(app.settings), repr(app.database), app.database.url, str(Settings.explain(url=url))]
        seen += [repr(app.database.__dict__), str(app.settings.__rich_repr__())]
        with pytest.raises(EnqueueError) as caught:
            note.enqueue(1)
        seen.append(repr(caught.value) + str(caught.value) + repr(caught.value.__cause__))
        worker = QueueWorker(app)

        async def turn(worker: QueueWorker = worker, app: Procession = app) -> None:
            running = asyncio.ensure_future(worker.run())
            await asyncio.sleep(0.2)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await app.close_async()

        asyncio.run(turn())
        app.close()
    wrong = ["redis://:c4n/ary@h:6379", "nosuch://:c4n/ary@h", "redis://:c4n/ary@h:x/", "redis://ada:c4n?ary@h/?bad=1"]
    for url in wrong:
        with pytest.raises(ConfigError) as refused:
            Procession(url).database  # noqa: B018
        seen.append(str(refused.value))
    with pytest.raises(ConfigError) as badly_typed:
        Procession(password=12345)
    seen.append(str(badly_typed.value))
    monkeypatch.setenv("PROCESSION_URL", urls[0])
    output = subprocess.run(
        [sys.executable, "-m", "procession", "stats"], capture_output=True, text=True, timeout=30, check=False
    )
    seen += [output.stdout, output.stderr, caplog.text]
    assert output.returncode == 4
    everything = "\n".join(seen)
    for secret in ("c4n", "ary@", "12345"):
        assert secret not in everything
    assert "***" in everything


def test_a_password_in_the_clear_is_warned_of_once(
    server: Server, namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolve(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "store.invalid" and not kwargs.get("flags"):
            host = "127.0.0.1"
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    make_user(server, namespace)
    for host, warnings in (("store.invalid", 1), ("127.0.0.1", 0)):
        caplog.clear()
        app = Procession(f"redis://{host}:{server.port}", namespace=namespace, username="jobs", password=CANARY)
        app.stats()
        asyncio.run(app.stats_async())
        assert sum("unencrypted" in record.getMessage() for record in caplog.records) == warnings
        app.close()


# TLS


def openssl(*arguments: str, folder: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)


def make_authority(folder: Path, name: str) -> None:
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt", folder=folder)  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities; the first has signed a certificate for `localhost`, and that of a client."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder, "ours")
    make_authority(folder, "theirs")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n", "utf-8")
    for name in ("server", "client"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr", folder=folder)  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ours.crt", "-CAkey", "ours.key", "-days", "2", "-extfile",
                "names", "-out", f"{name}.crt", folder=folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def tls(certificates: Path) -> Iterator[Server]:
    """Debian's redis-server, which knows TLS; it wants a certificate of its clients too."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on this machine")
    server = Server(binary=binary)
    try:
        server.start_with(
            "--port", "0", "--tls-port", str(server.port), "--bind", "127.0.0.1", "--save", "",
            "--tls-cert-file", str(certificates / "server.crt"), "--tls-key-file", str(certificates / "server.key"),
            "--tls-ca-cert-file", str(certificates / "ours.crt"), "--tls-auth-clients", "optional", ready=False,
        )  # fmt: skip
        until(lambda: b"accept connections" in (server.folder / "server.log").read_bytes())
        yield server
    finally:
        server.close()


def both_ways(app: Procession, note: Any) -> None:
    note.enqueue(1)

    async def main() -> None:
        big = "x" * 200_000  # many records of TLS, written and read in pieces
        await asyncio.gather(*(note.enqueue_async(n) for n in range(50)))
        page = await app.jobs_async("queued", limit=100)
        assert len(page.jobs) == 51
        assert await app.connection_async().wait(["q"], 1.0) == "q"
        assert big
        await app.close_async()

    asyncio.run(main())


def test_the_right_authority_lets_us_in(tls: Server, certificates: Path, namespace: str) -> None:
    app, note = shop(f"rediss://localhost:{tls.port}/?ssl_ca_certs={certificates / 'ours.crt'}", namespace)

    @app.job(name="big", queue="big")
    def big(text: str) -> None: ...

    both_ways(app, note)
    big.enqueue("x" * 250_000)
    asyncio.run(big.enqueue_async("y" * 250_000))
    peeked = app.peek("big")
    assert peeked is not None
    assert len(peeked.args["text"]) == 250_000
    app.flush(confirm=namespace)
    app.close()


@pytest.mark.parametrize(
    ("host", "options", "message"),
    [
        ("localhost", "", "certificate verify failed"),
        ("localhost", "?ssl_ca_certs={folder}/theirs.crt", "certificate verify failed"),
        ("127.0.0.1", "?ssl_ca_certs={folder}/ours.crt", "certificate is not valid for '127.0.0.1'"),
        ("localhost", "?ssl_ca_certs={folder}/missing.crt", "No such file"),
    ],
)
def test_whatever_does_not_verify_is_refused_before_anything_is_said(
    tls: Server, certificates: Path, namespace: str, host: str, options: str, message: str
) -> None:
    app, note = shop(f"rediss://{host}:{tls.port}/{options.format(folder=certificates)}", namespace)
    for enqueue in (note.enqueue, lambda n: asyncio.run(note.enqueue_async(n))):
        with pytest.raises(EnqueueError, match=message) as caught:
            enqueue(1)
        assert caught.value.stored == "no"
    app.close()


def test_verification_can_be_given_up_and_a_client_can_show_a_certificate(
    tls: Server, certificates: Path, namespace: str
) -> None:
    ours = f"ssl_ca_certs={certificates}/ours.crt"
    shown = f"ssl_certfile={certificates}/client.crt&ssl_keyfile={certificates}/client.key&ssl_min_version=TLSv1_3"
    urls = [
        f"rediss://127.0.0.1:{tls.port}/?ssl_cert_reqs=none",
        f"rediss://127.0.0.1:{tls.port}/?{ours}&ssl_check_hostname=false",
        f"rediss://localhost:{tls.port}/?{ours}&{shown}",
    ]
    for url in urls:
        app, _ = shop(url, namespace)
        app.stats()
        app.flush(confirm=namespace)
        app.close()


def test_plain_words_to_a_tls_port_end_within_the_budget(tls: Server, namespace: str) -> None:
    app, note = shop(f"redis://localhost:{tls.port}/", namespace, budget=0.5)
    with pytest.raises(EnqueueError) as caught:
        note.enqueue(1)
    assert caught.value.stored == "no"
    assert not isinstance(caught.value, Refused)
    app.close()


