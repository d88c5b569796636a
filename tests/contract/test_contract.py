"""The contract over our own backends: the tests come from `procession.testing.contract`, the database from conftest."""

from __future__ import annotations

from procession.testing.contract import *  # noqa: F403
