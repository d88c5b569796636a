"""`python -m procession` is the command line."""

from procession.cli import main

main()
