"""dynostore side by side with its peers, in the same run and under the same promises.

To add a benchmark: write ``bench/NAME.py`` with ``run(arguments) -> dict`` and name it in
:data:`bench.__main__.MODULES`. ``run`` parses its own options and gives back plain JSON: numbers
with their unit in the key, and a list of objects where a table is to be printed. A ratio has the
peer in its name and is above 1 where dynostore is the faster one.
"""
