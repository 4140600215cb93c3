# `make demo` and `make test` each set everything up on a fresh machine; the set-up is done once.
#   make demo PYTHON=python3.12    another interpreter (3.11 or later)
#   make demo CLIP=my_clip.mp4     another clip
PYTHON ?= python3
VENV ?= .venv
CLIP ?= examples/hopper.mp4
DEMO ?= runs/demo

BIN := $(VENV)/bin
STAMP := $(VENV)/.vid4d-installed
DEV_STAMP := $(VENV)/.vid4d-dev-installed
BUILD_INPUTS := pyproject.toml constraints.txt $(wildcard setup.py) \
	$(wildcard src/vid4d/gaussians/raster/*.[ch]) $(wildcard src/vid4d/gaussians/raster/build.py)

.PHONY: help setup demo test lint clean

help:
	@printf 'make demo   turn %s into a 4D asset in %s\n' $(call quoted,$(CLIP)) $(call quoted,$(DEMO))
	@echo "make test   run the tests"
	@echo "make lint   ruff, mypy, and which room may import which"
	@echo "make clean  remove $(VENV) and what the demo made"

setup: $(DEV_STAMP)

# With the extra `export`: the guide's first page exports and opens the viewer.
$(STAMP): $(BUILD_INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is not Python 3.11 or later: name one that is, e.g. make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[export]'
	@touch $@

# What tests and lint need besides.
$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# A demo that was interrupted goes on where it stopped; a finished one is made anew. Exports made into its folder, and
# whatever else vid4d did not write there, stay.
# `python -m`: pip's launcher does not start from a folder with a quotation mark in its name.
quoted = '$(subst ','\'',$(1))'
CLEAR = $(BIN)/python -c 'import sys; from vid4d.runs.folder import clear; clear(sys.argv[1])' $(call quoted,$(DEMO))
demo: $(STAMP)
	@if [ -e $(call quoted,$(DEMO)/.done/report) ]; then $(CLEAR); fi
	$(BIN)/python -m vid4d generate --resume --out $(call quoted,$(DEMO)) -- $(call quoted,$(CLIP))
	@echo
	@echo "Look at:"
	@printf '  %s/report.html     open it in a browser: what was made, how it went, what to try next\n' $(call quoted,$(DEMO))
	@printf '  %s/player.html     it plays, and you can turn it\n' $(call quoted,$(DEMO))
	@printf '  %s/turntable.mp4   a camera once around the object while time plays\n' $(call quoted,$(DEMO))
	@printf '  %s/contact.png     all sides at all moments, the input on top\n' $(call quoted,$(DEMO))

test: $(DEV_STAMP)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	@if [ -x $(BIN)/python ] && [ -e $(call quoted,$(DEMO)/settings.json) ]; then $(CLEAR); fi
	rm -rf $(VENV)
