# Every target sets up what it needs from nothing: Python 3.10+, pip, a C++17 compiler, CMake and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CXX_FILES = -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh'
SOURCES := pyproject.toml CMakeLists.txt $(shell find kernels $(CXX_FILES) -o -name '*.cmake')
# What `make demo` classifies besides the photographs it finds by itself: files, folders or globs.
IMAGES ?=

.PHONY: demo test test-cpp test-threads test-python lint bench format clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py $(IMAGES)

test: test-cpp test-python

# The core without Python, under AddressSanitizer and UndefinedBehaviorSanitizer.
test-cpp:
	cmake --preset asan
	cmake --build --preset asan --parallel 2
	ctest --preset asan

# The same under ThreadSanitizer, which does not start where the kernel spreads addresses over more than 28 bits
# (vm.mmap_rnd_bits): setarch spreads them over none, where it may.
test-threads:
	cmake --preset tsan
	cmake --build --preset tsan --parallel 2
	$(shell setarch -R true 2>/dev/null && echo setarch -R) ctest --preset tsan

test-python: $(VENV)/.developer
	$(BIN)/python -m pytest

bench: $(VENV)/.installed
	$(BIN)/python tests/bench/run.py

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find kernels tests/cpp $(CXX_FILES) | xargs $(BIN)/clang-format --dry-run --Werror

format: $(VENV)/.developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	find kernels tests/cpp $(CXX_FILES) | xargs $(BIN)/clang-format -i

$(VENV)/.installed: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q -e '.[texts,eval,cpu]'
	touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(BIN)/python -m pip install -q --group test --group lint
	touch $@

clean:
	rm -rf $(VENV) build dist demo
