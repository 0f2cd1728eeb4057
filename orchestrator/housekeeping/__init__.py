"""What is in a store, how to look after it, and its ways in and out: status, gc, import, export.

Read `lookup` first: it finds experiments, trials and surfaces by what a user names. Everything here
returns values; `orchestrator.cli` prints them and asks before anything is removed.
"""
