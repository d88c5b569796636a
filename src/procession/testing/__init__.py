"""Testing an application's jobs: the test kit, its report on jobs that run twice, and the contract suite for backends.

`Kit` stands in for the store and the workers of an app while a test runs; the pytest fixture `procession` is one
(docs/testing.md). Nothing of this is imported by the library itself.
"""

from __future__ import annotations

from procession.testing.drills import Report
from procession.testing.effects import Effect, Effects
from procession.testing.enqueued import Enqueued
from procession.testing.kit import Kit
from procession.testing.performing import Attempt

__all__ = ["Attempt", "Effect", "Effects", "Enqueued", "Kit", "Report"]
