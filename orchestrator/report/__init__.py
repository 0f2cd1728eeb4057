"""The report of experiments: what was run, figures, tables, claims, failures and provenance.

Read `write` first: `write_report` gathers everything and writes the page. `exhibits` makes the
figures and tables, also for a launch, which publishes them in the store, and `brief` the tables
with which a launch ends.
"""
