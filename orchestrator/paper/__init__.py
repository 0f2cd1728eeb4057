"""This paper alone: its claims as statistics, its tables, its theorems, the numbers it prints.

Read `claims` first, then `printed`, which compares what the paper prints with what cells have. A
client of the other packages: nothing below imports it.
"""
