"""The parts of an export, which :mod:`dynostore.exporter` puts together.

``rows`` selects and reads what goes out, ``cells`` makes text of a row for a spreadsheet,
``folders`` writes in older tools' forms, ``places`` makes sure that a file or directory is whole or
not there. A new part is a module here, which the exporter calls.
"""
