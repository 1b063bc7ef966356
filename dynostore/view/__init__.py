"""The web view of a store's file: its pages, made by Datasette from what the models say.

To show more of a table, say it in its model: ``metadata`` takes titles, descriptions, choices and
references from there. A report shows up by itself as a query, a chart on the dashboard. What
Datasette needs to be told about the file is in ``application``, how values are written in
``cells``, and the pages that are ours in ``templates``. This package imports nothing heavy;
:func:`dynostore.view.server.serve` does.
"""
