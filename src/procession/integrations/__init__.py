"""Procession inside other people's frameworks: one thin file (or folder) each, which alone imports its framework.

Only `procession worker` looks in here, for what service managers and probes are told (`systemd.py`, `health.py`); no
frame imports another. What each needs is an extra of its name, `pip install "procession[django]"`.
"""
