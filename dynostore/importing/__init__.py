"""The stages of an import, which :mod:`dynostore.importer` runs in this order.

``source`` finds what is to be read and by which readers, ``reading`` takes records from them, each
an ``item`` of rows, and ``ledger`` remembers them on disk; ``plan`` compares each with what is
``stored`` and with what its source said the last time (``image``), tells apart those of one id
(``keys``) and settles differences by ``merge``; ``writer`` writes batches, whose ``columns`` it
checks, ``archive`` moves what was taken over (``movables`` may be, one ``move`` after the other),
``notes`` and ``report`` say what became of each. ``verify`` compares again, whenever asked. A new
stage is a module here, which the importer calls.
"""
