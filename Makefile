# Everything a developer or packager does; `make help` lists it. The server itself needs only Python.

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=
AUTOBAHN_ARGS ?=
# How many generated cases `make fuzz` tries for each generator.
FUZZ_CASES ?= 200000
# How many times `make soak` reloads under load.
SOAK_RELOADS ?= 50

DESTDIR ?=
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BINDIR = $(PREFIX)/bin
# The same layout as a checkout: lwsws.py, lwsws/ and etc/ side by side.
HOMEDIR = $(PREFIX)/share/lwsws
DOCDIR = $(PREFIX)/share/doc/lwsws
UNITDIR = $(PREFIX)/lib/systemd/system
LOGROTATEDIR = $(SYSCONFDIR)/logrotate.d

HAS_PYTEST = import sys, pytest; sys.exit(pytest.version_tuple < (7, 0))
# The interpreter that runs the tests: $(PYTHON) where it has pytest, otherwise the one of .venv.
TESTER = $(shell $(PYTHON) -c '$(HAS_PYTEST)' 2>/dev/null && echo $(PYTHON) || echo .venv/bin/python)

# The tests use no plugins; those that happen to be installed shall not change anything.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD = 1

.PHONY: help run test test-all lint bench autobahn fuzz soak docs pyz install uninstall clean check-python pytest

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: check-python ## serve the bundled example on http://localhost:7681/
	$(PYTHON) lwsws.py

test: pytest ## run the tests (PYTEST_ARGS="-k name -x"); makes .venv with pytest where it is missing
	@$(TESTER) .ci/run_tests.py $(PYTEST_ARGS)

test-all: ## run the tests on each of Python 3.9 to 3.13 that is found
	.ci/test-all $(PYTEST_ARGS)

lint: check-python ## check style and types with ruff and mypy --strict, from .venv
	@.ci/venv $(PYTHON) .venv pytest ruff mypy
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/mypy --config-file= --strict -c "$$(cat lwsws.py)"

bench: check-python ## measure against nginx, lighttpd, haproxy and http.server (BENCH_ARGS=--quick)
	$(PYTHON) -m bench.run $(BENCH_ARGS)

autobahn: check-python ## the Autobahn|Testsuite against our lws-echo; needs Python 2.7 (AUTOBAHN_ARGS=--write)
	$(PYTHON) -m bench.autobahn $(AUTOBAHN_ARGS)

fuzz: pytest ## try many generated inputs (FUZZ_CASES=200000)
	LWSWS_FUZZ_CASES=$(FUZZ_CASES) $(TESTER) -m pytest tests/fuzz $(PYTEST_ARGS)

soak: pytest ## reload again and again under load, and lose nothing (SOAK_RELOADS=50)
	LWSWS_SOAK=$(SOAK_RELOADS) $(TESTER) -m pytest -s tests/interop/test_reload.py $(PYTEST_ARGS)

docs: check-python ## write docs/configuration.md from the table of keys
	$(PYTHON) -m lwsws.config.document > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md

pyz: check-python ## build/lwsws.pyz, the server in one file; the same bytes for the same sources
	$(PYTHON) .ci/build_pyz.py build/lwsws.pyz

install: check-python ## install below PREFIX=/usr/local (and DESTDIR)
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(HOMEDIR) $(DESTDIR)$(DOCDIR) $(DESTDIR)$(UNITDIR) \
		$(DESTDIR)$(LOGROTATEDIR)
	rm -rf $(DESTDIR)$(HOMEDIR)/lwsws
	find lwsws etc -type f ! -name '*.pyc' -exec install -D -m 644 {} $(DESTDIR)$(HOMEDIR)/{} \;
	install -m 644 lwsws.py $(DESTDIR)$(HOMEDIR)/lwsws.py
	$(PYTHON) -m compileall -q -s '$(DESTDIR)' -p / $(DESTDIR)$(HOMEDIR)/lwsws
	printf '#!/bin/sh\nexec %s %s/lwsws.py "$$@"\n' $(PYTHON) $(HOMEDIR) > $(DESTDIR)$(BINDIR)/lwsws
	chmod 755 $(DESTDIR)$(BINDIR)/lwsws
	for unit in lwsws.service lwsws.socket; do \
		sed 's,/usr/local/,$(PREFIX)/,' contrib/systemd/$$unit > $(DESTDIR)$(UNITDIR)/$$unit || exit 1; done
	test -e $(DESTDIR)$(LOGROTATEDIR)/lwsws || install -m 644 contrib/logrotate/lwsws $(DESTDIR)$(LOGROTATEDIR)/lwsws
	install -m 644 LICENSE *.md docs/*.md $(DESTDIR)$(DOCDIR)

uninstall: ## take away what install put there; the logrotate file, maybe edited, stays
	rm -rf $(DESTDIR)$(HOMEDIR) $(DESTDIR)$(DOCDIR)
	rm -f $(DESTDIR)$(BINDIR)/lwsws $(DESTDIR)$(UNITDIR)/lwsws.service $(DESTDIR)$(UNITDIR)/lwsws.socket

clean: ## delete everything that was made here
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info docs/configuration.md.new
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

check-python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 9) or sys.exit( \
		"lwsws needs Python 3.9 or newer, $(PYTHON) is %d.%d: try make PYTHON=python3.11" % sys.version_info[:2])'

pytest: check-python
	@$(PYTHON) -c '$(HAS_PYTEST)' 2>/dev/null || .ci/venv $(PYTHON) .venv pytest
