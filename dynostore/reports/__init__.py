"""Questions that people ask of the records, each declared once and answered alike everywhere.

To add one: declare a :class:`Report` in the module of its family, with one SQL text for both
databases; what they say differently is a word of ``dialects``. Keep to whole numbers until the last
division, so that both databases give the same digits, and end every order with a key. A new
family's module is named in ``answers``. The command ``dynostore report`` takes up whatever is in
:data:`REPORTS`.
"""

from dynostore.reports.answers import REPORTS, answer, statement
from dynostore.reports.declaration import Column, Parameter, Report

__all__ = ["REPORTS", "Column", "Parameter", "Report", "answer", "statement"]
