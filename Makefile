# quietdial: `make help` lists the verbs. Everything is installed into $(VENV), nothing elsewhere,
# at the exact versions of constraints.txt.

PYTHON ?= python3
VENV ?= .venv
# Extra arguments for the download of PyTorch, for instance an index of CPU-only builds.
TORCH_ARGS ?=
# Extra arguments for `quietdial train`, for `quietdial proof` and for pytest.
ARGS ?=
# Processes of the tests.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
PINS := -c constraints.txt
HOUSE := pyproject.toml setup.py constraints.txt
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help train test proof lint format setup setup-dev browser mariadb sipp languages demo-dialer clean

help: ## list the verbs
	@echo "quietdial: make VERB"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-12s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) ARGS= (for quietdial train, quietdial proof, pytest)"
	@echo "           JOBS=$(JOBS) (processes of the tests)"
	@echo "           TORCH_ARGS= (for pip, when it fetches PyTorch)"

train: setup ## install what is needed, train a policy, judge it, export it
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/quietdial train $(ARGS)

test: setup-dev browser mariadb sipp languages ## install what is needed, run all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

proof: setup-dev ## prove the simulator right (long, goes on where it stopped); ARGS=erlang: one part
	@OMP_NUM_THREADS=1 $(BIN)/quietdial proof $(or $(ARGS),--output experiments/results/world-proof.json)

demo-dialer: $(VENV)/.dialer mariadb ## a simulated VICIdial steered by an exported policy, live; Ctrl-C ends it
	@OMP_NUM_THREADS=1 $(BIN)/quietdial vicidial demo $(ARGS)

lint: setup-dev ## ruff, mypy, pyright and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: setup-dev ## put the sources into the house format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

setup: $(VENV)/.train ## install into .venv what training and export need
setup-dev: $(VENV)/.dev ## install into .venv what tests and checks need besides

clean: ## remove .venv, build folders and caches; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .coverage htmlcov .hypothesis \
		.pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find envs agents experiments tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "quietdial needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 2; }
	@echo "set-up: virtual environment in $(VENV), $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { echo "python's venv is missing; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@touch $@

$(VENV)/.torch: constraints.txt | $(VENV)/.made
	@echo "set-up: PyTorch $(TORCH)"
	@$(PIP) install $(PINS) $(TORCH_ARGS) torch==$(TORCH)
	@touch $@

$(VENV)/.train: $(HOUSE) | $(VENV)/.made $(VENV)/.torch
	@echo "set-up: quietdial with training and export"
	@$(PIP) install $(PINS) setuptools
	@$(PIP) install $(PINS) --no-build-isolation --editable '.[train,export,bench]'
	@touch $@

$(VENV)/.dialer: $(HOUSE) | $(VENV)/.train
	@echo "set-up: the VICIdial adapter"
	@$(PIP) install $(PINS) --no-build-isolation --editable '.[train,export,vicidial]'
	@touch $@

$(VENV)/.dev: $(HOUSE) | $(VENV)/.train
	@echo "set-up: tests and checks"
	@$(PIP) install $(PINS) --no-build-isolation --editable '.[dev]'
	@touch $@

# The TensorBoard page is looked at in a real browser; only root can install one.
browser:
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "set-up: chromium and chromium-driver (tests of the TensorBoard page)"; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes \
			--no-install-recommends chromium chromium-driver; } >/dev/null 2>&1 \
			|| echo "chromium could not be installed: the browser tests will be skipped"; \
	else \
		echo "chromium or chromedriver is missing: the browser tests will be skipped;" \
			"on Debian: apt-get install chromium chromium-driver"; \
	fi

# The tests of the VICIdial adapter and `make demo-dialer` start a server of their own.
mariadb:
	@if PATH=$$PATH:/usr/sbin command -v mariadbd >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "set-up: mariadb-server (tests of the VICIdial adapter)"; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes \
			--no-install-recommends mariadb-server-core mariadb-client-core; } >/dev/null 2>&1 \
			|| echo "MariaDB could not be installed: the adapter's tests will be skipped"; \
	else \
		echo "mariadbd is missing: the adapter's tests will be skipped;" \
			"on Debian: apt-get install mariadb-server"; \
	fi

# The dialer of examples/sip_dialer/ is tested against a telephone network that SIPp plays.
sipp:
	@if command -v sipp >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "set-up: sip-tester (tests of the SIP loop)"; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes \
			--no-install-recommends sip-tester; } >/dev/null 2>&1 \
			|| echo "SIPp could not be installed: tests/experiments/test_sip_loop.py will skip two tests"; \
	else \
		echo "sipp is missing: tests/experiments/test_sip_loop.py will skip two tests;" \
			"on Debian: apt-get install sip-tester"; \
	fi

# The evaluators of examples/evaluators/ are tested in their languages.
languages:
	@missing=$$(for pair in perl:perl php:php-cli javac:default-jdk-headless go:golang-go gcc:gcc \
			node:nodejs ssh-keygen:openssh-client; do \
		command -v $${pair%%:*} >/dev/null || echo $${pair#*:}; done); \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "set-up:" $$missing "(tests of the evaluators)"; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes \
			--no-install-recommends $$missing; } >/dev/null 2>&1 \
			|| echo "they could not be installed: those evaluators' tests will be skipped"; \
	else \
		echo "the tests of some evaluators will be skipped; on Debian: apt-get install" $$missing; \
	fi
