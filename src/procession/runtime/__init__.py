"""What a worker process runs. Pipeline: slots → claim → executor → outbox → settle, joined by `queue_worker.py`."""
