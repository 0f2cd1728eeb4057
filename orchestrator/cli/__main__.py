"""`python -m orchestrator.cli`: the same as `nas-sweep`."""

from orchestrator.cli.main import main

main()
