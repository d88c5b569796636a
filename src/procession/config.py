"""Settings: arguments, then `PROCESSION_*`, then `[tool.procession]` in pyproject.toml, then the defaults below.

Each layer yields only what was set in it, and they are merged once, so that a default never hides a file. The source
of each value is kept, to be shown. Called by the client and the command line; reads the environment and one file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from procession.clock import milliseconds
from procession.database import Durability, Policy
from procession.errors import ConfigError
from procession.names import check_namespace, shown
from procession.serving import QueueOrder, check_order, shares_of
from procession.sizes import size

if TYPE_CHECKING:
    from pathlib import Path


def cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting and its default. Durations are seconds, or text such as "5m"."""

    url: str = "embedded"
    """`redis://`, `rediss://`, `valkey://`, `valkeys://`, `unix://`, `memory://`, or `embedded`; see
    docs/connecting.md."""
    host: str = ""
    """Instead of a URL: host, port, database."""
    port: int = 6379
    database: int = 0
    username: str = ""
    """Who we are, where the URL does not say it: an ACL user (or nobody in particular) and a password."""
    password: str = ""
    namespace: str = "procession"
    """Prefix of every key; namespaces never touch each other."""
    lease: float | str = 15.0
    """How long a queue worker counts as alive without a sign of life."""
    heartbeat: float | str = 0
    """How long it gives none at most; 0: a third of the lease."""
    queues: tuple[str, ...] | str = ()
    """Which queues a worker serves, where it is not told: "critical:6, default:3, low", or a list of such words. None
    named: all that the app's jobs name."""
    queue_order: QueueOrder = "shares"
    """Among the queues of a worker that have work: `shares` (each gets its part, `name:3` three times that of `name`)
    or `strict` (a queue is served only when those named before it have nothing)."""
    ageing: float | str = 0
    """A lane counts one priority higher for each such time that its first job has waited, so that no priority starves;
    0: never."""
    concurrency: int = 100
    threads: int = 16
    processes: int = 1
    job_processes: int = msgspec.field(default_factory=cpus)
    """Job processes of one worker, for jobs with executor="process"."""
    grace: float | str = 25.0
    """At shutdown: how long running jobs may go on."""
    allow_eviction: bool = False
    """Let queue workers begin on a server that throws keys away when its memory is full."""
    budget: float | str = 2.0
    """Deadline of one call to the store, connecting included."""
    max_jobs: int = 0
    """A worker process makes way for a fresh one after this many jobs; 0 lifts it. Likewise:"""
    max_age: float | str = 0
    """after this time,"""
    max_rss: int | str = 0
    """and when it holds this much resident memory: bytes, or text such as "500MB"."""
    durability: Durability = "memory"
    """What an enqueue waits for: `memory` (the server has it), `fsync` (its disk has it), `replica` (one replica has
    it)."""
    capture_logs: str = "INFO"
    """Least level of the log lines that are kept of a job; "OFF" keeps none."""
    max_crashes: int = 3
    keep_processed: str = "24h, 100000"
    """How long and how many finished jobs are kept, "24h, 100000", or one of the two; the other is then the default."""
    keep_failed: str = "14d, 100000"
    keep_cancelled: str = "24h, 10000"

    @classmethod
    def load(cls, **arguments: Any) -> Settings:
        """Merge all layers. An argument that is None counts as not given. Raises ConfigError naming layer and value."""
        return _merge(arguments)[0]

    @classmethod
    def explain(cls, **arguments: Any) -> dict[str, tuple[Any, str]]:
        """Each effective value and where it comes from; passwords are masked."""
        settings, sources = _merge(arguments)
        return {name: (value, sources.get(name, "default")) for name, value in settings._shown()}

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self._shown())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [*self._shown()]

    def _shown(self) -> Iterator[tuple[str, Any]]:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            yield name, self.shown_url if name == "url" else "***" if name == "password" and value else value

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return shown(self.url)

    def policy(self) -> Policy:
        """The part of the settings that the store keeps to."""
        bounds: dict[str, int] = {}
        for state in ("processed", "failed", "cancelled"):
            age, count = _kept(f"keep_{state}", getattr(self, f"keep_{state}"))
            bounds |= {f"{state}_age": age, f"{state}_count": count}
        return Policy(max_crashes=self.max_crashes, **bounds)


def project_root(start: Path | None = None) -> Path:
    """`PROCESSION_HOME`, else the nearest folder upwards with `.procession/` or `pyproject.toml`, else the working
    directory."""
    from pathlib import Path  # with the first app, not with the import

    home = os.environ.get("PROCESSION_HOME")
    if home:
        return Path(home).expanduser().absolute()
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / ".procession").is_dir() or (folder / "pyproject.toml").is_file():
            return folder
    return here


def _file_layer() -> tuple[dict[str, Any], str]:
    path = project_root() / "pyproject.toml"
    if not path.is_file():
        return {}, ""
    import tomllib  # only where there is such a file

    try:
        table = tomllib.loads(path.read_text("utf-8")).get("tool", {}).get("procession", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: [tool.procession] must be a table")
    return table, f"[tool.procession] in {path}"


def _environment_layer() -> dict[str, str]:
    names = {f"PROCESSION_{name.upper()}": name for name in Settings.__struct_fields__}
    layer = {}
    for variable, value in os.environ.items():
        if variable in names:
            layer[names[variable]] = value
    return layer


def _merge(arguments: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    table, file = _file_layer()
    given = {name: value for name, value in arguments.items() if value is not None}
    layers: list[tuple[Mapping[str, Any], str, bool]] = [
        (table, file, True),
        (_environment_layer(), "the environment", False),
        (given, "an argument", True),
    ]
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    nearness: dict[str, int] = {}
    for near, (layer, source, strict) in enumerate(layers):
        if layer.get("url") and layer.get("host"):
            raise ConfigError(f"url and host both come from {source} and name a store; leave one of them out")
        for name, value in layer.items():
            if name not in Settings.__struct_fields__:
                known = ", ".join(Settings.__struct_fields__)
                raise ConfigError(f"unknown setting {name!r} from {source}; known are {known}")
            if name == "host" and value == "":
                continue  # a variable that is there and empty says nothing
            merged[name], nearness[name] = _checked(name, value, source, strict=strict), near
            sources[name] = f"PROCESSION_{name.upper()}" if source == "the environment" else source
            if name in ("url", "host") and value:  # of a nearer layer, it replaces the other of a farther one
                merged.pop("host" if name == "url" else "url", None)
    for name in ("port", "database"):
        if not merged.get("host") and nearness.get(name, -1) >= nearness.get("url", 0):
            raise ConfigError(f"{name} from {sources[name]} counts beside host alone; a URL says it: redis://host:6379/0")
    if merged.get("host"):
        merged["url"] = _url_of(merged)
        sources["url"] = sources["host"]
    merged["url"] = _with_credentials(merged)
    if not milliseconds(merged.get("heartbeat", 0), "heartbeat"):
        merged["heartbeat"] = milliseconds(merged.get("lease", _defaults["lease"]), "lease") / 3_000
    settings = Settings(**merged)
    check_namespace(settings.namespace)
    for name in ("lease", "heartbeat", "grace", "budget", "max_age", "ageing"):
        if not milliseconds(getattr(settings, name), name) and name in ("lease", "budget"):
            raise ConfigError(f"{name}={getattr(settings, name)!r} must be longer than 0: nothing is done in no time")
    size(settings.max_rss, "max_rss")
    check_order(settings.queue_order, shares_of(settings.queues))
    if not _is_level(settings.capture_logs):
        raise ConfigError(f"capture_logs={settings.capture_logs!r} must be a level such as INFO or WARNING, or OFF")
    settings.policy()
    if milliseconds(settings.heartbeat) * 2 > milliseconds(settings.lease):
        raise ConfigError(
            f"heartbeat={settings.heartbeat} may be at most half of lease={settings.lease}, else a late beat costs it"
        )
    return settings, sources


def _is_level(name: str) -> bool:
    if name in ("OFF", _defaults["capture_logs"]):
        return True
    import logging  # 5 ms, which a program that only enqueues may do without

    return name in logging.getLevelNamesMapping()


_settings = msgspec.structs.fields(Settings)
_fields = {field.name: field.type for field in _settings}
_defaults = {field.name: field.default for field in _settings}
_COUNTS = ("concurrency", "threads", "processes", "job_processes", "max_crashes")


def _checked(name: str, value: Any, source: str, *, strict: bool) -> Any:
    if not strict and _fields[name] == float | str:
        with suppress(ValueError):
            value = float(value)  # the environment has text only: PROCESSION_GRACE=30 is thirty seconds
    try:
        converted = msgspec.convert(value, _fields[name], strict=strict)
    except msgspec.ValidationError as error:
        said = "***" if name in ("password", "url") else repr(value)
        raise ConfigError(f"{name}={said} from {source}: {error}") from None
    if name in _COUNTS and converted < 1:
        raise ConfigError(f"{name}={value!r} from {source} must be at least 1")
    if name == "max_jobs" and converted < 0:
        raise ConfigError(f"max_jobs={value!r} from {source} must be at least 1, or 0 to lift it")
    return converted


def _kept(name: str, text: str) -> tuple[int, int]:
    """How long in milliseconds, and how many: what is not said is the default's."""
    words = text.replace(",", " ").split()
    counts = [word for word in words if word.replace("_", "").isdecimal()]
    ages = [word for word in words if word not in counts]
    age, count = _defaults[name].split(", ")
    if not words or len(counts) > 1 or len(ages) > 1 or not int((counts or [count])[0]):
        raise ConfigError(f"{name}={text!r} must be a time and a number of jobs, such as {age}, {count}, or one")
    return milliseconds((ages or [age])[0], name), int((counts or [count])[0])


def _url_of(merged: Mapping[str, Any]) -> str:
    host = merged["host"]
    host = f"[{host}]" if ":" in host else host
    return f"redis://{host}:{merged.get('port', 6379)}/{merged.get('database', 0)}"


def _with_credentials(merged: Mapping[str, Any]) -> str:
    """The URL with username and password in it, unless it names its own or has no use for them. One that names a user
    alone gets the password."""
    url: str = merged.get("url", Settings.__struct_defaults__[0])
    user, password = merged.get("username", ""), merged.get("password", "")
    scheme, separator, rest = url.partition("://")
    if not (user or password) or not separator or scheme == "memory":
        return url
    from urllib.parse import parse_qs, quote, unquote  # only where they are given apart

    place, _, query = rest.partition("?")
    said = parse_qs(query)
    before, at, _ = place.partition("/")[0].rpartition("@")
    name, colon, _ = before.partition(":")
    own = unquote(name) or said.get("username", [""])[-1]
    if colon or "password" in said or (own and (not password or user not in ("", own))):
        return url
    who = name if own else quote(user, safe="")
    rest = rest[len(before + at) :]
    return f"{scheme}://{who}:{quote(password, safe='')}@{rest}" if password else f"{scheme}://{who}@{rest}"
