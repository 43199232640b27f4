"""`python -m potstill`: the same as the command `potstill`."""

from potstill.cli import main

main()
