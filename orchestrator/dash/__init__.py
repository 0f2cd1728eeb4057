"""The live page of a store: trials, curves, surfaces and claims as they come.

Read `live` first: what is kept of the store in memory, and how changes are noticed. `app` lays out
the page and answers its callbacks, `charts` draws, and `server` serves it to this machine alone.
Dash is an optional package: only `app` and `charts` import it or Plotly when they are loaded.
"""
