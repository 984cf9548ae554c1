# Everything starts in a fresh clone: each target makes the virtual environment that it needs.
#
# PYTHON is the interpreter that the virtual environment VENV is made of, 3.11 or later. tox.ini calls these targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
APT := RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo docs test lint unit contract functional integration test-lowest test-trixie chaos fuzz bench bench-compare bench-peer config pages constraints sbom hooks packages clean

help:  ## Say what can be made
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/installed  ## Show snapmanage at work on this machine, without a broker or a database server
	@$(BIN)/snapmanage demo

docs: $(VENV)/tested  ## Build the documentation into build/docs; a warning fails
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --fresh-env --quiet -b html docs build/docs
	@echo "The documentation is in build/docs/index.html."

# Most tests wait for other processes, so three test processes keep two processors busy. Each has services of its own and
# runs whole files; tests/order.py gives their order. A crashed process ends the run, since pytest-xdist 3.8 may wait
# for its tests forever if it replaces the process.
TESTERS ?= 3
PROCESSES = --numprocesses $(TESTERS) --dist loadfile --max-worker-restart 0
test: packages lint  ## Check and test everything; installs missing Debian packages when root
	@$(BIN)/python -m pytest $(PROCESSES) --no-loadscope-reorder

lint: $(VENV)/tested  ## Check form, types, spelling and prose
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@git ls-files -z | xargs -0 $(BIN)/codespell
	@$(BIN)/python -m tools.prose

# The tiers of tests/tiers.py.
unit: $(VENV)/tested  ## Run the tests of decisions and small parts
	@$(BIN)/python -m pytest $(or $(TESTS),tests/unit)

contract: $(VENV)/tested  ## Run the tests of every driver on its real backend
	@$(BIN)/python -m pytest $(or $(TESTS),tests/contract)

functional: $(VENV)/tested  ## Run the tests of snapmanage in one process, on each database
	@$(BIN)/python -m pytest $(or $(TESTS),tests/functional)

# Part of a release, not of each run of CI. The folder needs 3 GB and stays for the next run.
TRIXIE ?= .trixie
test-trixie:  ## Check and test the last commit on Debian 13, in the folder TRIXIE; as root
	@tests/in_debian.sh trixie $(abspath $(TRIXIE)) make test TESTERS=$(TESTERS)

integration: $(VENV)/tested  ## Run the tests on real brokers, databases and backends, tier chaos included
	@$(BIN)/python -m pytest $(or $(TESTS),tests/integration tests/chaos)

# The old libraries call functions that newer ones deprecate. Python 3.11 is the oldest that snapmanage supports.
LOWEST ?= .venv-lowest
LOWEST_TESTS ?= tests/unit tests/functional
test-lowest: packages  ## Run the tiers unit and functional on the lowest versions of the dependencies
	@$(MAKE) --no-print-directory VENV=$(LOWEST) $(LOWEST)/lowest
	@$(LOWEST)/bin/python -m pytest -W ignore::DeprecationWarning $(PROCESSES) $(LOWEST_TESTS)

# What the round of a seed did wrong stays in chaos-SEED.ROUND.
SEED ?= 1
ROUNDS ?= 2
REQUESTS ?= 1000
chaos: $(VENV)/tested  ## Hurt a deployment at random: SEED=1 ROUNDS=2 REQUESTS=1000
	@$(BIN)/python -m tests.chaos.storm --seed $(SEED) --rounds $(ROUNDS) --requests $(REQUESTS)

# The input of a failure stays in .fuzz, and `python -m tests.fuzz --target TEST --input FILE` repeats it.
SECONDS ?= 60
TARGET ?=
fuzz: $(VENV)/fuzzed  ## Give hostile input to every reader: SECONDS=60 for each test, TARGET=a part of its name
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --target "$(TARGET)"

RESULTS ?= benchmarks.jsonl

# A backlog is long: it is measured only where BENCH names it.
CASTS ?= 100000

# Snapshots on a real backend, and on the large volume group; seconds of each loop that is compared with the service.
export STORAGE_SNAPSHOTS ?= 1000
export STORAGE_LARGE ?= 5000
export STORAGE_LOOP_SECONDS ?= 20

bench: packages  ## Measure on real services, eight minutes long; the results go to RESULTS, BENCH names some
	@$(BIN)/python -m benchmarks --output $(RESULTS) --casts $(CASTS) $(BENCH)

bench-compare: $(VENV)/tested  ## Show two files of results side by side: A=... B=...
	@$(BIN)/python -m benchmarks.compare $(A) $(B)

# Cinder's operations in a round, snapmanage's, and the rounds.
PEER ?= .venv-peer
PEER_CINDER ?= 300
PEER_OPERATIONS ?= 5000
PEER_ROUNDS ?= 2
bench-peer: packages $(PEER)/installed  ## Measure Cinder and snapmanage side by side; the results go to RESULTS
	@$(BIN)/python -m benchmarks.peer --python $(PEER)/bin/python --output $(RESULTS) \
	--cinder $(PEER_CINDER) --operations $(PEER_OPERATIONS) --rounds $(PEER_ROUNDS)

config: $(VENV)/tested  ## Write the samples of configuration and policy
	@$(BIN)/oslo-config-generator --config-file etc/snapmanage/config-generator.conf
	@$(BIN)/oslopolicy-sample-generator --config-file etc/snapmanage/policy-generator.conf

pages: $(VENV)/tested  ## Write the tutorial that shows a terminal again, if the output of its commands has changed
	@$(BIN)/python -m tests.integration.recorded_page

# The versions hold on each Python from 3.11 on. The extra `cinder` is left out: Cinder pins its libraries in files of its own.
PINNED_EXTRAS = --extra audit --extra cli --extra keystone --extra metrics --extra mysql --extra postgresql --extra upstream
constraints: $(VENV)/tested  ## Pin the newest version of each dependency, with its hashes, in constraints.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make constraints" $(PINNED_EXTRAS) --output-file constraints.txt setup.py

# The bill of materials describes an environment that is made of constraints.txt alone. CycloneDX has an environment of
# its own: in the tests' one, its dependency rfc3987-syntax would add two seconds to each import of jsonschema.
SBOM ?= build/snapmanage.cdx.json
PINNED ?= build/pinned
CYCLONEDX = $(PINNED)-cyclonedx
PIN = $(BIN)/pip --disable-pip-version-check --python $(PINNED)/bin/python
sbom: $(VENV)/tested  ## Write the software bill of materials SBOM, in CycloneDX, of the pinned dependencies
	@$(PYTHON) -m venv --clear --without-pip $(PINNED)
	@$(PIN) install --quiet --no-compile --require-hashes --requirement constraints.txt
	@$(PIN) wheel --quiet --no-deps --no-build-isolation --wheel-dir $(PINNED)/wheel .
	@$(PIN) install --quiet --no-deps --no-index --find-links $(PINNED)/wheel --pre snapmanage
	@$(PYTHON) -m venv --clear --without-pip $(CYCLONEDX)
	@$(BIN)/pip --disable-pip-version-check --python $(CYCLONEDX)/bin/python install --quiet 'cyclonedx-bom>=7.0'
	@mkdir -p $(dir $(SBOM))
	@$(CYCLONEDX)/bin/cyclonedx-py environment --output-reproducible --output-file $(SBOM) $(PINNED)/bin/python

# pre-commit runs the tools of `make lint` on the files of a commit.
hooks: $(VENV)/tested  ## Check each commit before it is made
	@$(BIN)/pip install --quiet --disable-pip-version-check 'pre-commit>=4.0'
	@$(BIN)/pre-commit install

# What bindep.txt lists for the tests. RUNLEVEL=1 keeps the packages from starting their services.
packages: $(VENV)/tested
	@missing=$$($(BIN)/bindep -b test); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "Not root, so these Debian packages stay missing:" $$missing; exit 0; fi; \
	$(APT) update -q && $(APT) install -q -y --no-install-recommends $$missing

clean:  ## Remove what was made
	rm -rf .venv .venv-lowest .venv-peer build dist *.egg-info .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find snapmanage tests -name __pycache__ -prune -exec rm -rf {} +

# pbr takes the version from the history, which an unpacked archive doesn't have.
$(VENV)/installed: requirements.txt setup.cfg setup.py pyproject.toml | $(VENV)/made
	@echo "Installing snapmanage and what it needs into $(VENV); the first time takes a minute."
	@git rev-parse --verify --quiet HEAD >/dev/null 2>&1 || export PBR_VERSION=0.0.0; \
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/tested: test-requirements.txt $(VENV)/installed
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement test-requirements.txt
	@touch $@

# atheris has no wheel for some machines; hypothesis makes the input there.
$(VENV)/fuzzed: fuzz-requirements.txt $(VENV)/tested
	@$(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: --requirement fuzz-requirements.txt || \
	echo "atheris can't be installed here, so the input is not guided by coverage."
	@touch $@

# Without the two lines of test-requirements.txt that require newer libraries.
$(VENV)/lowest: lower-constraints.txt requirements.txt setup.cfg test-requirements.txt | $(VENV)/made
	@echo "Installing the lowest versions into $(VENV); it takes some minutes."
	@git rev-parse --verify --quiet HEAD >/dev/null 2>&1 || export PBR_VERSION=0.0.0; \
	grep -vE '^(cinder|keystone)>' test-requirements.txt > $(VENV)/test-requirements.txt; \
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint lower-constraints.txt \
	--editable '.[audit,cli,keystone,metrics,mysql,postgresql,upstream]' --requirement $(VENV)/test-requirements.txt
	@touch $@

# The reference has an environment of its own, with the newest libraries that it allows.
$(PEER)/installed: | $(VENV)/made
	@echo "Installing Cinder 29 and its libraries into $(PEER); it takes some minutes."
	@$(PYTHON) -m venv $(PEER)
	@$(PEER)/bin/pip install --quiet --disable-pip-version-check 'cinder==29.*' PyMySQL
	@touch $@

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("snapmanage needs Python 3.11 or later, and $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	[ "$$(id -u)" = 0 ] || { echo "Python can't make a virtual environment here; as root: apt-get install python3-venv" >&2; exit 1; }; \
	$(APT) update -q && $(APT) install -q -y --no-install-recommends python3-venv; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
