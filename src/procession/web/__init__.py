"""The dashboard: an ASGI app that shows the jobs of one `Procession`, live, and lets operators act on them.

`procession web` serves it, or any ASGI application mounts it. Needs `pip install "procession[web]"`. It keeps nothing
but the last seconds of rates: everything it shows is read from the store through the client's verbs.
"""

from __future__ import annotations

try:
    import jinja2  # noqa: F401
    import starlette  # noqa: F401
except ImportError as missing:
    raise ImportError(f'the dashboard needs {missing.name}: pip install "procession[web]"') from None

from procession.web.access import Access, Auth, Passwords, Role
from procession.web.dashboard import Dashboard
from procession.web.redaction import HIDDEN, Redact, hide_keys

__all__ = ["HIDDEN", "Access", "Auth", "Dashboard", "Passwords", "Redact", "Role", "hide_keys"]
