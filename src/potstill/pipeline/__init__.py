"""The stages of a run, a file per stage: this package, `report`, `pages` and the command line alone know a run folder.

Input: a run folder. Output: the results of a stage in it, recorded in its manifest (`run`). Each stage reads its inputs
from the run, calls the library, which works in memory, and writes what comes back.
"""
