"""`python -m visagent`: the command line."""

from visagent.cli import main

main()
