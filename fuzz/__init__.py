"""Coverage-guided fuzzing of what potstill reads from others; `python -m fuzz --help`."""
