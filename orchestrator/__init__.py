"""Decides what runs where, and what is made of the results. Start with `orchestrator.cli.main`."""
