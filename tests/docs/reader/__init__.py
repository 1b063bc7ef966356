"""What a page of the documentation shows is run: its blocks, top to bottom, in one directory.

A fenced block is run by what its language says:

- ``sh``: each line must end with 0, or with N where its comment says ``exit N``;
- ``console``: the lines after ``$`` are run, and what follows each is what it prints. There ``...``
  stands for anything, and ids, times, durations and the width of columns count for nothing;
- ``python``: run in one namespace for the page; ``sql``: run on the page's server by psql;
- ``diff``: applied to the file that is named above it;
- ``json``, ``yaml``, ``ini``: read, a ``dynostore.yaml`` as dynostore reads it;
- ``text``, ``mermaid``: pictures and drafts, passed over.

A block after a line that ends in `` `NAME`: `` is written to that file, not run. Two comments say
what a reader does not need to see: ``<!-- first: COMMANDS -->`` makes what the page takes for
granted, and ``<!-- not run: REASON -->`` exempts the next block. Addresses such as ``postgresql://user@host/team``
become those of databases of the test's server, one for each name.
"""
