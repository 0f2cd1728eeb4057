"""The report: what was run, its figures, tables, claims, failures and provenance on one page."""
