"""The stages of a run, a file per stage.

Only this package and what is above it (`report`, `pages`, `api`, `cli`, the demo) know a run folder.

Input: a run folder. Output: the results of a stage in it, recorded in its manifest (`run`). Each stage reads its inputs
from the run, calls the library, which works in memory, and writes what comes back.
"""
