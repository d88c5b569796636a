"""One file per contestant: how it is set up, how it enqueues, which command works. See `measure.py` for the words."""
