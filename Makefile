# VexFS: everything that a developer or a user runs. Needs git, make, Python ≥ 3.11 and the package registries; what else
# is missing is installed (by apt, where that needs no password) or named.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first Python that is new enough; `make PYTHON=/usr/bin/python3.12 …` chooses another.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
endif
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
SUITE ?= sid
SOURCE ?=
MOUNT ?=
OPTIONS ?=
TESTS ?= tests

# TEST=PACKAGE pairs for .ci/packages.
RUNTIME := fusermount3=fuse3 pc:fuse3=libfuse3-dev+pkg-config cc=gcc+libc6-dev Python.h=python3-dev py:ensurepip=python3-venv
TESTING := fio=fio rsync=rsync sqlite3=sqlite3 setfattr=attr setfacl=acl stress-ng=stress-ng mkfs.ext4=e2fsprogs \
	bindfs=bindfs git=git make=make losetup=mount setpriv=util-linux flock=util-linux tar=tar \
	pdftotext=poppler-utils unzip=unzip zstd=zstd openssl=openssl strings=binutils pgrep=procps

.PHONY: help
help: ## this list
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: install
install: $(VENV)/installed ## build .venv with everything in it, installing missing packages
	@PYTHON=$(PYTHON) .ci/packages $(RUNTIME)

.PHONY: mount
mount: install ## mount SOURCE=dir on MOUNT=dir (default: a demo in ./demo) in the background, with the example automations
	@source='$(SOURCE)'; point='$(MOUNT)'
	if [ -z "$$source" ]; then
		source=$(DEMO)/source; point=$${point:-$(DEMO)/mount}; mkdir -p "$$source" "$$point"
	fi
	$(BIN)/vexfs mount --background "$$source" $${point:+"$$point"} --workflows workflows $(OPTIONS)
	point=$${point:-$$source}
	echo "$$source is mounted on $$point; the automations are those in workflows/."
	echo "  tail -f $$point/.vexfs/events    shows what happens"
	echo "  cat $$point/.vexfs/README        tells what else there is"
	echo "  $(BIN)/vexfs unmount $$point    ends it"

.PHONY: unmount
unmount: install ## end the mount on MOUNT=dir (default: the demo)
	@$(BIN)/vexfs unmount '$(or $(MOUNT),$(SOURCE),$(DEMO)/mount)'

.PHONY: test
test: install test-packages ## run every test (TESTS=tests/test_cli_options.py runs some)
	@PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/python -u -m pytest $(TESTS) $(PYTEST)

.PHONY: soak
soak: install test-packages ## an hour of random operations, traced I/O and kills (SOAK="fsx --seeds 8" chooses)
	@PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/python -m tests.soak $(or $(SOAK),all)

.PHONY: systemd
systemd: install test-packages ## run the unit of docs/systemd.md under a systemd in namespaces of its own
	PATH="$$PATH:/usr/sbin:/sbin" VEXFS_SYSTEMD=1 $(BIN)/python -m pytest tests/test_systemd_unit.py $(PYTEST)

.PHONY: libfuse
libfuse: install test-packages ## run the mount's tests with the libfuse of another Debian release (SUITE=trixie; TESTS=… some)
	@PYTHON=$(PYTHON) .ci/packages dpkg-source=dpkg-dev patch=patch
	PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/python -m tests.libfuse $(SUITE) $(filter-out tests,$(TESTS)) $(PYTEST)

.PHONY: check
check: install ## ruff, formatting and types
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: bench
bench: install test-packages ## the benchmarks, a quarter of an hour; writes bench/results/, docs/benchmarks.* and the README's table
	@PYTHON=$(PYTHON) .ci/packages mergerfs=mergerfs c++=g++
	PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/python -m bench --write

.PHONY: demo
demo: install ## the eight demonstrations on a mount of their own, checked as they go
	@$(BIN)/python -m bench.demonstration

.PHONY: schema
schema: install ## write the JSON Schema of all definitions, for editors, to docs/definition.schema.json
	@$(BIN)/python -m automation.schemas > docs/definition.schema.json

.PHONY: format
format: install ## let ruff lay out and tidy the code
	@$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: install-helper
install-helper: install ## as root: /usr/local/bin/vexfs, so that fstab and `mount -t fuse.vexfs` find VexFS
	@printf '#!/bin/sh\nexec %q "$$@"\n' "$(CURDIR)/$(BIN)/vexfs" > /usr/local/bin/vexfs
	chmod 755 /usr/local/bin/vexfs
	echo "Now this works:  mount -t fuse.vexfs SOURCE MOUNTPOINT -o allow_other"

.PHONY: lock
lock: install ## resolve pyproject.toml anew into requirements.lock (UPGRADE=1: to the newest versions)
	@$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install -q pip-tools==7.6.2
	$(VENV)/lock/bin/pip-compile -q $(if $(UPGRADE),--upgrade) --all-extras --allow-unsafe --generate-hashes --strip-extras \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements.lock pyproject.toml

.PHONY: clean
clean: ## remove .venv, caches, build products and the demo (not while it is mounted)
	@if grep -qF " $(CURDIR)/$(DEMO)/" /proc/self/mounts; then echo "The demo is still mounted: make unmount" >&2; exit 1; fi
	rm -rf $(VENV) $(DEMO) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis vexfs_fuse/_native*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: test-packages
test-packages:
	@PYTHON=$(PYTHON) .ci/packages $(TESTING)

# The stamp is written last: an interrupted installation is done again. Everything, the build tools too, comes from the
# lock and is checked against its hashes; with the tools installed first nothing is fetched behind the lock's back.
$(VENV)/installed: requirements.lock pyproject.toml $(wildcard vexfs_fuse/*.[ch])
	@if [ -z "$(PYTHON)" ]; then echo "VexFS needs Python 3.11 or newer; name one: make PYTHON=…" >&2; exit 1; fi
	PYTHON=$(PYTHON) .ci/packages $(RUNTIME)
	echo "Installing VexFS into $(CURDIR)/$(VENV) (a minute or two, once)"
	[ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	pip="$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input"  # -qq: errors only
	awk '/^[a-zA-Z]/ { on = /^(setuptools|setuptools-scm|vcs-versioning|cython|packaging|typing-extensions)==/ } on' \
		requirements.lock > $(VENV)/build.lock
	$$pip --require-hashes -r $(VENV)/build.lock
	$$pip --require-hashes --no-build-isolation -r requirements.lock
	$$pip --no-deps --no-build-isolation -e .
	touch $@

.ONESHELL:
