"""How is one trial trained? Its life, its steps, its checkpoints, and packs of several.

Read `trial` first, then `attempt` (lease, log, stop requests), `engine` (the steps) and
`checkpoint`.
"""
