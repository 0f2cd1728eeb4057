"""What a trial, a surface and a row are, and where they are kept: the contract of all packages.

Read `trial` and `tables` first for the data, `store` and `lease` for how it is kept.
"""
