# Needs Python >= 3.11 and nothing else. PYTHON=python3.12 picks another interpreter.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := demo
# Equal bytes: IPC 1 with F takes what two plain images per class take.
DEMO_RECIPES := digits_random_ipc2 digits_herding_ipc2 digits_kmeans_ipc2 digits_dc_ipc2 \
                digits_random_f_ipc1 digits_dc_f_ipc1 digits_full

.PHONY: setup demo test test-slow lint bench lock clean

setup: $(VENV)/.ready  ## make .venv with the locked packages

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup  ## distil digits with and without F, evaluate, print the table
	DDBENCH_RESULTS=$(DEMO) DDBENCH_CACHE=$(DEMO)/cache $(BIN)/ddbench run $(DEMO_RECIPES) --device cpu
	$(BIN)/ddbench table $(DEMO)

test: setup  ## everything CI runs
	$(BIN)/python -m pytest

test-slow: setup  ## minutes to hours: MNIST, long fault injection
	DDBENCH_REQUIRE=slow DDBENCH_KILLS=10 $(BIN)/python -m pytest -m slow tests
	DDBENCH_KILLS=10 $(BIN)/python -m pytest tests/test_resume.py

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## the table of docs/performance.md, on this machine
	$(BIN)/python -m benchmarks

lock:  ## rewrite requirements.lock (needs uv); torch and torchvision are pinned to a tested pair
	printf 'torch==2.11.0\ntorchvision==0.26.0\n' > .constraints
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header -c .constraints -o requirements.lock
	rm .constraints

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
