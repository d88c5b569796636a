# What a contributor and CI call. Needs python >= 3.11 and make; everything else goes into .venv.

PYTHON ?= $(shell for p in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PYTHON6 ?= $(shell for p in python3.15 python3.14 python3.13 python3.12; do $$p -c '' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-django test-web versions chaos controls soak check fmt docs build bench bench-web bench-compare clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no python >= 3.11 found; install one, or call make PYTHON=/path/to/python"; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(READY)

demo: $(READY)  ## the brief's demonstration: ten jobs, seen moving (WEB=1: on the dashboard, too)
	@$(BIN)/procession demo $(if $(WEB),--web)
	$(if $(WEB),,@echo "to see it on the dashboard: make demo WEB=1")

test: $(READY)  ## all tests but the slow suites
	$(BIN)/python -m pytest -n 4 --dist loadgroup --ignore tests/web/browser

test-web: $(READY)  ## the dashboard in a real browser; needs Chromium (Debian: apt-get install chromium)
	@command -v $${CHROMIUM:-chromium} >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null \
		|| { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; }
	$(BIN)/python -m pytest tests/web/browser

test-django: $(READY)  ## Django's own tasks (Django 6), where a Python >= 3.12 is at hand (PYTHON6=…)
	@test -n "$(PYTHON6)" || { echo "no python >= 3.12 found; call make test-django PYTHON6=/path/to/python"; exit 1; }
	@test -x .venvs/django/bin/python || $(PYTHON6) -m venv .venvs/django
	@.venvs/django/bin/pip install --quiet --disable-pip-version-check -e '.[embedded]' 'Django>=6' pytest pytest-timeout pytest-xdist
	.venvs/django/bin/python -m pytest tests/integrations/test_django.py tests/integrations/test_django_signals.py

versions:  ## all tests under each Python from 3.11 on that is at hand
	@for v in 3.11 3.12 3.13 3.14 3.15; do if python$$v -c pass 2>/dev/null; then echo "== python$$v"; \
		$(MAKE) --no-print-directory test PYTHON=python$$v VENV=.venvs/$$v || exit 1; else echo "== no python$$v here"; fi; done

chaos: $(READY)  ## every fault one after the other, 20 minutes (SEED=n ONLY=name SHORT=1; WRITE=1 puts the table into the docs)
	$(BIN)/python -m tests.chaos $(SEED:%=--seed %) $(ONLY:%=--only %) $(SHORT:1=--short) $(WRITE:1=--write)

controls: $(READY)  ## take the guards out, one at a time, and see that the scenarios notice
	$(BIN)/python -m tests.chaos --controls $(SEED:%=--seed %)

soak: $(READY)  ## 200,000 jobs, half failing, 50 restarts: nothing left, nothing grown
	$(BIN)/python -m tests.chaos --only soak $(SEED:%=--seed %)

check: $(READY)  ## ruff, mypy --strict, pyright
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

fmt: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .

docs: $(READY)  ## the pages as a site, into build/site; a broken link fails
	@$(BIN)/python docs/generate.py --check
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "build/site/index.html"

build: $(READY)  ## wheel and sdist, into dist/
	$(BIN)/python -m build --no-isolation

bench: $(READY)  ## every figure beside other libraries (SMALL=1: a few minutes)
	$(BIN)/python bench/run.py $(if $(SMALL),--small)

bench-web: $(READY)  ## what the dashboard costs with a million jobs in the store: pages, store, viewers (2 minutes)
	$(BIN)/python bench/web.py

bench-compare: $(READY)  ## this tree against another revision: BASE=main
	$(BIN)/python bench/compare.py $(or $(BASE),main)

clean:  ## remove what was set up here
	rm -rf $(VENV) .venvs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
