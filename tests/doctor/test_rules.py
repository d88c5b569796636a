"""What the doctor says, rule by rule: facts in, a grade and what to do out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from procession.database import Counts, Inspection, QueueInfo, WorkerInfo
from procession.doctor import Check, Facts, examine
from procession.job import Job, State, new_jid

NOW = 1_800_000_000_000
HEALTHY = Inspection(
    kind="valkey", version="9.0.1", format="1", now=NOW, used_memory=10, max_memory=100, policy="noeviction",
    append_only=True, append_only_ok=True, snapshot_ok=True, role="master", replicas=1, cluster=False, uptime=90_000,
    clients=5, max_clients=10_000,
)  # fmt: skip
QUIET = Facts(inspection=HEALTHY, queues=[], workers=[], counts=Counts(), delayed=[], clock=NOW)


def told(name: str, *, facts: Facts = QUIET, **inspection: Any) -> Check:
    """The first check of that name that is not ok, or else the first."""
    changed = msgspec.structs.replace(facts.inspection, **inspection)
    checks = [it for it in examine(msgspec.structs.replace(facts, inspection=changed)) if it.name == name]
    return next((it for it in checks if it.grade != "ok"), checks[0])


def test_a_healthy_store_has_nothing_to_do() -> None:
    assert {it.grade for it in examine(QUIET)} == {"ok"}
    assert all(it.do == "" for it in examine(QUIET))


@pytest.mark.parametrize(
    ("name", "inspection", "grade", "says"),
    [
        ("server", {"version": "7.1.0"}, "problem", "upgrade it"),
        ("server", {"kind": "redis", "version": "7.0.15"}, "ok", ""),
        ("server", {"kind": "redis", "version": "6.2.1"}, "problem", "upgrade it"),
        ("server", {"kind": "", "version": ""}, "unknown", "INFO"),
        ("role", {"role": "slave"}, "problem", "primary"),
        ("role", {"role": ""}, "unknown", "INFO"),
        ("eviction", {"policy": "allkeys-lru"}, "problem", "noeviction"),
        ("eviction", {"policy": "volatile-ttl"}, "problem", "noeviction"),
        ("eviction", {"policy": ""}, "unknown", "INFO"),
        ("memory", {"max_memory": 0}, "warning", "set maxmemory"),
        ("memory", {"used_memory": 91}, "problem", "raise maxmemory"),
        ("memory", {"used_memory": None}, "unknown", "INFO"),
        ("persistence", {"append_only": False}, "warning", "appendonly yes"),
        ("persistence", {"append_only_ok": False}, "problem", "disk"),
        ("persistence", {"append_only": None}, "unknown", "INFO"),
        ("snapshot", {"snapshot_ok": False}, "problem", "disk"),
        ("clients", {"clients": 9_500}, "warning", "maxclients"),
        ("clients", {"clients": None}, "unknown", "INFO"),
        ("clock", {"now": NOW + 5_000}, "warning", "time server"),
        ("leases", {"expired_leases": 2}, "warning", "takes their jobs back"),
        ("audit", {"doubts": 1}, "warning", "procession repair"),
    ],
)
def test_each_fact_has_its_grade_and_says_what_to_do(
    name: str, inspection: dict[str, Any], grade: str, says: str
) -> None:
    check = told(name, **inspection)
    assert check.grade == grade
    assert says in check.do
    assert bool(check.do) == (grade != "ok")


def test_a_queue_that_nobody_serves_is_a_problem_after_a_minute() -> None:
    waiting = QueueInfo(name="mail", queued=3, oldest=NOW - 10_000)
    facts = msgspec.structs.replace(QUIET, queues=[waiting], workers=[WorkerInfo(id="w", queues=("other",))])
    assert told("queues", facts=facts).grade == "warning"
    assert "procession worker MODULE:APP -q mail" in told("queues", facts=facts, now=NOW + 60_000).do
    assert told("queues", facts=facts, now=NOW + 60_000).grade == "problem"
    served = msgspec.structs.replace(facts, workers=[WorkerInfo(id="w", queues=("mail",))])
    assert told("queues", facts=served, now=NOW + 60_000).grade == "ok"


def test_a_paused_queue_and_its_reason_are_named() -> None:
    facts = msgspec.structs.replace(QUIET, queues=[QueueInfo(name="mail", queued=0, paused=True, reason="too hot")])
    assert "too hot" in told("queues", facts=facts).says


def test_jobs_whose_name_no_worker_knows_are_counted_by_name() -> None:
    def waiting(name: str) -> Job:
        reason = f"no worker knows the name {name}"
        return Job(jid=new_jid(), name=name, args={}, queue="mail", state=State.DELAYED, reason=reason)

    facts = msgspec.structs.replace(QUIET, delayed=[waiting("b"), waiting("a"), waiting("b")])
    said = [it.says for it in examine(facts) if it.name == "names"]
    assert [text[:6] for text in said] == ["1 jobs", "2 jobs"]
    assert said[1].endswith("the name b")


def test_memory_answers_sensibly() -> None:
    checks = examine(msgspec.structs.replace(QUIET, inspection=Inspection(kind="memory", now=NOW, policy="noeviction")))
    assert {it.grade for it in checks} == {"ok"}
