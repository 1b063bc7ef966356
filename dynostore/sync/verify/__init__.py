"""Compares the two sides in full; no push or pull relies on it.

A new check of a pair of rows goes to ``judge``; a new way to read a side, to ``sides``.
"""
