"""The way up: batches of changed rows, judged and applied by the server, then acknowledged.

A step of a push has a module of its own here and is called from :class:`.push.Push`.
"""
