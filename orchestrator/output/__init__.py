"""How results are written for people and programs: tables, numbers, text, unexpected errors.

Start with `tables`: commands and reports describe what they show as a `TextTable`.
"""
