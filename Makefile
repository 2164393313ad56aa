# Two commands matter to a newcomer: `make quickstart` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: setup quickstart test lint bench docs lock clean

setup: .venv/.ready

$(BIN)/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv

.venv/.ready: $(BIN)/uv requirements.lock pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

quickstart: setup
	@$(BIN)/theriac audit --out theriac-audit || [ $$? -eq 1 ]
	@echo
	@echo "Open theriac-audit/report.html in a browser to see the whole report."

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -q -n 2 --dist loadfile

bench: setup
	$(BIN)/python benchmarks/cifar.py --data $(DATA)

docs: setup
	$(BIN)/mkdocs build --strict

lock: $(BIN)/uv
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --output-file requirements.lock

clean:
	rm -rf .venv site theriac-audit
