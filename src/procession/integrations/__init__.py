"""Procession inside other people's frameworks: one thin file (or folder) each, which alone imports its framework.

Nothing here is imported by the rest of the library, and none of these files imports another. What each needs is an
extra of the same name, `pip install "procession[django]"`.
"""
