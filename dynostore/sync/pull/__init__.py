"""The way down: rows and tombstones of one view of the server, written into the file.

A step of a pull has a module of its own here and is called from :class:`.pull.Pull`.
"""
