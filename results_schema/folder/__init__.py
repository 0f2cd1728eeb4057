"""A store in a folder: on a local disk, or one that nodes share.

Read `store` first; `files` opens paths without following a link.
"""
