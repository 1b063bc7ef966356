"""The server's side of a sync: sessions on it, its schema, and what can be asked of it.

A question to the server is a function beside what it is about; SQL of a batch is in ``statements``.
"""
