"""`procession top`: the queues, the workers and the jobs of a namespace, live in a terminal.

Three parts that know little of each other: `facts.py` asks the store, `view.py` makes a screen of what was answered,
and `keys.py` reads the keyboard and says what a key means. `command.py` runs them in a loop.
"""

from procession.cli.top.command import top

__all__ = ["top"]
