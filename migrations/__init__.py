"""The steps of the store's schema, installed as ``dynostore.migrations`` and read as files.

Each step is ``NNNN_name.py`` with ``tables(db)`` (its frozen models on ``db.Model``), ``up`` and
``down``, and never imports ``dynostore.models``: those move on. Draft the next one with
``python -m dynostore.migrator draft NAME`` after changing the models, and read what it wrote. A
rebuild takes a column's new definition literally, so repeat every DEFAULT and CHECK. A step that
changes the rows of a table says so: ``CHANGES_ROWS = ("runs",)``.
"""
