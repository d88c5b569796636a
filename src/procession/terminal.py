"""What strangers wrote, as a terminal may be shown it. Pure; used by the command line and by the log of a worker."""

from __future__ import annotations


def plain(text: str) -> str:
    """Text without what a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(it if it.isprintable() or it in "\n\t" else f"\\x{ord(it):02x}" for it in text)


def in_a_line(text: str) -> str:
    """The same for what has one line only, such as the cell of a table."""
    return plain(text.replace("\n", " ").replace("\t", " "))
