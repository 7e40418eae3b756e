# Everything is installed into .venv beside this file. Set-up is repeated only when pyproject.toml
# or constraints/ change. `make help` lists the targets.

SHELL := /bin/sh
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test test-all check bench

ARGS ?=
PYTHON ?=
PY := .venv/bin/python
PIP := $(PY) -m pip install -qq --disable-pip-version-check
CANDIDATES := $(if $(PYTHON),"$(PYTHON)",python3.14 python3.13 python3.12 python3.11 python3)

# A Python must run (a version manager's shim can exist and not run), be new enough, and be able to
# make an environment (some systems package that apart).
PROBE := import importlib.util, sys; \
  lacking = [name for name in ("venv", "ensurepip") if not importlib.util.find_spec(name)]; \
  old = sys.version_info < (3, 11) and "is %d.%d, too old" % sys.version_info[:2]; \
  sys.exit(old or (lacking and "lacks the module " + lacking[-1]) or 0)

# An environment is made anew when it does not run, or belongs to another copy of this folder.
OURS := import importlib.util, os, sys; found = importlib.util.find_spec("holdfast"); \
  sys.exit(not (found and os.path.samefile(found.origin, "src/holdfast/__init__.py")))
DROPPED := $(shell $(PY) -I -c '$(OURS)' >/dev/null 2>&1 || rm -f .venv/*.stamp)

help: ## list the targets
	@echo "make TARGET [ARGS='...'] [PYTHON=python3.12]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 \2/p' Makefile | \
	  while read -r name text; do printf '  %-9s %s\n' "$$name" "$$text"; done

demo: .venv/runtime.stamp ## show it at work; ARGS goes to `holdfast demo`
	@.venv/bin/holdfast demo $(ARGS)

test: .venv/dev.stamp ## run the tests; ARGS goes to pytest
	@$(PY) -m pytest -n 2 $(ARGS)

test-all: .venv/dev.stamp ## the same, with the replays of whole tapes
	@$(PY) -m pytest -n 2 -m "" $(ARGS)

check: .venv/dev.stamp ## lint, format, types, house rules, examples in the documents
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy $(wildcard src tests bench)
	@$(PY) -m pytest tests/test_tidy.py tests/test_docs.py

bench: .venv/dev.stamp ## measure; ARGS goes to `python -m bench`
	@$(PY) -m bench $(ARGS)

define ENVIRONMENT
@[ -e .venv/runtime.stamp ] || [ -e .venv/dev.stamp ] || { chosen=; tried=; \
  for python in $(CANDIDATES); do \
    if ! command -v "$$python" >/dev/null; then why="not found"; \
    elif why=$$("$$python" -c '$(PROBE)' 2>&1); then chosen=$$python; break; fi; \
    tried="$$tried  $$python: $$(printf '%s\n' "$$why" | head -n 1)\n"; \
  done; \
  if [ -z "$$chosen" ]; then \
    printf 'Holdfast needs Python 3.11 or later that can make an environment. Tried:\n%b' "$$tried"; \
    echo "Install one (Debian, Ubuntu: apt install python3 python3-venv), or name yours with"; \
    echo "make $(firstword $(MAKECMDGOALS)) PYTHON=/path/to/python3"; \
    exit 1; \
  fi >&2; \
  echo "Setting up .venv with $$("$$chosen" --version); once only." >&2; \
  "$$chosen" -m venv --clear .venv; }
endef

.venv/runtime.stamp: pyproject.toml constraints/runtime.txt
	$(ENVIRONMENT)
	@$(PIP) -c constraints/runtime.txt -e .
	@touch $@

.venv/dev.stamp: pyproject.toml constraints/runtime.txt constraints/dev.txt
	$(ENVIRONMENT)
	@$(PIP) -c constraints/runtime.txt -c constraints/dev.txt -e '.[dev]'
	@touch .venv/runtime.stamp $@
