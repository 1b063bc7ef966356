"""The file's side of a sync: its triggers, its log of changes, its memory, and looks at them.

A new table of the sync's own goes to ``capture``; what is read from it has a module of its own.
"""
