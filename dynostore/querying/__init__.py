"""How one statement of a person's is run without a way to write, for :mod:`dynostore.query`.

``words`` reads the statement and its parameters; ``file`` asks SQLite, ``server`` Postgres. Another
database is a module here that gives the same cursor.
"""
