# The two commands to know: `make serve` and `make test`. Neither needs more than Python 3.11+ and the package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: serve test lint bench clean

serve: $(VENV)/run weights.npz  ## train on the packaged digits if there are no weights yet, and serve on 127.0.0.1:8000
	$(BIN)/twolayernet serve

weights.npz:
	$(BIN)/twolayernet train --out $@

test: $(VENV)/dev  ## the tests, short forms
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not long and not docker"

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev  ## what a request costs, beside an endpoint that does nothing
	$(BIN)/python -m bench.serving

clean:
	rm -rf $(VENV) weights.npz twolayernet.db twolayernet.db-*

# An environment is made anew when the lock or the project file changes.
$(VENV)/run: requirements/run.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements/run.txt
	$(PIP) --no-deps -e .
	@touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/run
	$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@
