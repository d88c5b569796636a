"""Enqueue when a session commits: what was asked for in a transaction that is rolled back, savepoints included, is
forgotten. Listens to the session's own events; writes no SQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from msgspec.structs import replace
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from procession.client import Procession
from procession.enqueuer import Call, bound
from procession.handle import JobHandle
from procession.job import new_jid, parse_jid

R = TypeVar("R")
AnySession = Session | AsyncSession | scoped_session[Any] | async_scoped_session[Any]


class AfterCommit:
    """Enqueues calls of one app after commits."""

    def __init__(self, app: Procession) -> None:
        self.app = app

    def enqueue(self, session: AnySession, call: Call[R]) -> JobHandle[R]:
        """Enqueue this call once the transaction that is open in the session (one is begun if need be) has committed.

        Returns:
            A handle; there is no such job before the commit.

        Raises:
            ConfigError: it is no bound call.
            EnqueueError: not here, but out of the commit, which is done: the store could not be used.
        """
        return self.enqueue_many(session, [call])[0]

    def enqueue_many(self, session: AnySession, calls: Iterable[Call[R]]) -> list[JobHandle[R]]:
        """See `enqueue`; all of one transaction travel in one round trip."""
        sync = _sync(session)
        named = [_with_jid(call) for call in bound(calls)]
        self._pending_of(sync).add(_innermost(sync) or sync.begin(), [call for _, call in named])
        return [JobHandle(self.app, jid, call.registered) for jid, call in named]

    def _pending_of(self, session: Session) -> _Pending:
        pending: _Pending | None = session.info.get(self)
        if pending is None:
            pending = session.info[self] = _Pending(self.app)
            event.listen(session, "after_commit", pending.committed)
            event.listen(session, "after_transaction_end", pending.ended)
        return pending


class _Pending:
    """What one session is to enqueue: by transaction, until that one ends."""

    def __init__(self, app: Procession) -> None:
        self._app = app
        self._calls: dict[SessionTransaction, list[Call[Any]]] = {}
        self._committed: set[SessionTransaction] = set()

    def add(self, transaction: SessionTransaction, calls: list[Call[Any]]) -> None:
        self._calls.setdefault(transaction, []).extend(calls)

    def committed(self, session: Session) -> None:
        transaction = _innermost(session)
        if transaction in self._calls:
            self._committed.add(transaction)

    def ended(self, session: Session, transaction: SessionTransaction) -> None:
        """The last thing that a transaction says; an error raised here leaves the session as after any commit."""
        calls = self._calls.pop(transaction, [])
        if transaction not in self._committed:
            return
        self._committed.discard(transaction)
        if transaction.parent is not None:  # a savepoint was released: the outer transaction decides
            self.add(transaction.parent, calls)
        elif in_greenlet():  # an async session commits: its loop is ours to wait on
            await_only(self._app.enqueue_many_async(calls))
        else:
            self._app.enqueue_many(calls)


def _sync(session: AnySession) -> Session:
    its: Any = session
    if isinstance(session, scoped_session | async_scoped_session):
        its = session()  # the one of this thread, or task
    found: Session = its.sync_session if isinstance(its, AsyncSession) else its
    return found


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _with_jid(call: Call[R]) -> tuple[UUID, Call[R]]:
    given = call.options.get("jid")
    jid = new_jid() if given is None else parse_jid(given)
    return jid, replace(call, options={**call.options, "jid": jid})
