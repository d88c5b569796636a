"""An app with a codec chain whose jobs run in job processes: imported by the tests, and by each job process."""

from __future__ import annotations

import logging
import os

from procession import Encrypted, Procession, Retry, current_job

app = Procession(
    "memory://sealed", namespace="sealed", lease=2.0, heartbeat=0.2, grace=5.0, job_processes=1,
    retry=Retry(attempts=1), codec=[Encrypted([bytes(range(32))])],
)  # fmt: skip


@app.job(executor="process")
def pay(user: str, card: str, refuse: bool = False) -> str:
    current_job().progress(0.5, f"with {card}")
    logging.getLogger("shop").warning("card %s", card)
    if refuse:
        raise ValueError(f"no {card} today")
    return card


@app.job(executor="process")
def fall(card: str) -> str:
    logging.getLogger("procession.shop").warning("card %s", card)
    if current_job().attempt == 1:
        os._exit(3)
    return "stood"
