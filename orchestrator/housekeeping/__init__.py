"""What is in a store, and how to look after it: status, logs, cancel, retry, gc, export.

Read `lookup` first: it finds experiments, trials and surfaces by what a user names. Everything here
returns values; `orchestrator.cli` prints them and asks before anything is removed.
"""
