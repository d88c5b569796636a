"""Jobs beside a transaction of SQLAlchemy: enqueued after its commit, or written into it and relayed (the outbox).

`AfterCommit` is the light one: a process that dies between commit and enqueue loses the job. `Outbox` is the durable
one: the request for the job is a row of the user's own transaction. See docs/sqlalchemy.md.
"""

from procession.integrations.sqlalchemy.after_commit import AfterCommit
from procession.integrations.sqlalchemy.outbox import Outbox

__all__ = ["AfterCommit", "Outbox"]
