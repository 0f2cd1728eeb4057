"""The command line: arguments, printing, exit codes; nothing else in this project prints.

Start with `main`, which lists the commands by family.
"""
