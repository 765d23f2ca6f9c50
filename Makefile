# Everything starts from a machine with Python 3.11+, make and a C compiler.
#
#   make demo    set-up, then the whole journey on data that ships with packlight
#   make check   set-up, then format, lint, types, pages and the quick tests: a few minutes
#   make test    set-up, then what CI runs: the same with every test
#   make wheel   set-up, then dist/ with the source archive, and the wheel built from it
#   make docs    set-up, then site/: the pages as HTML, to be opened from the disk
#   make bench   set-up, then every benchmark in short, on ../shared: under 15 minutes once peers are there
#   make bench-full        the same with everything, written into docs/: hours
#   make bench-runtimes    two networks of ../shared on every runtime, beside its own quantiser
#   make clean   forget the environment and every result

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# most of what is installed is never imported, and compiling it ahead takes more than a minute;
# setuptools warns that what builds the extensions is young
INSTALL := env PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# modules are compiled once, whatever the environment says: tests start a hundred processes, and
# torch takes twice as long to import when it is compiled in each of them
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo lint check test every-test fix wheel docs bench bench-full bench-runtimes clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt $(wildcard packlight/*/*.c) $(wildcard native/src/*.[ch]) $(wildcard native/include/*.h)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# the pip that Python brings takes half as long again
	$(INSTALL) --upgrade pip
	# as pinned, two at a time; where one can not be had, pip works out which are needed
	if grep -v '^#' constraints.txt | xargs -P 2 -n 34 $(INSTALL) --no-deps; \
	then $(INSTALL) --no-deps --no-build-isolation -e .; \
	else $(INSTALL) -e '.[dev]'; fi
	touch $@

demo: setup
	$(BIN)/packlight demo --out demo-out --force

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(PYTEST) -m "not slow"

test: setup
	$(MAKE) --no-print-directory -j2 lint every-test  # one core would wait for the type checker

every-test: setup
	$(PYTEST)

wheel: setup
	rm -rf dist
	$(BIN)/python -c "from setuptools import build_meta; build_meta.build_sdist('dist')"
	$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps --no-build-isolation --no-index -w dist dist/*.tar.gz

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

fix: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

bench-full: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks --full

bench-runtimes: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.runtimes --docs docs

clean:
	rm -rf $(VENV) demo-out build dist site *.egg-info
