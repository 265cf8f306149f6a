# Everything here is for who works on purebpf. Who uses it needs no compiler: the objects are committed, and in the wheel.

CLANG ?= clang-19
STRIP ?= llvm-strip-19
PYTHON ?= python3

# The kernel's interface headers (linux-libc-dev) keep their asm/ part where Debian keeps what differs between machines.
# What we take from it is the same on all of them, and so are the objects.
ASM_INCLUDE := /usr/include/$(shell uname -m)-linux-gnu

# -g is for BTF, the types and source lines that the kernel and our loader read; DWARF, which comes along and is ten times
# as large, is stripped. Source lines name their file. For that name to be the same wherever the tree lies, clang gets the
# whole path and drops the tree's.
# v3 of the instruction set is what Linux 5.10 can run.
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Werror -I$(ASM_INCLUDE) -ffile-prefix-map="$(CURDIR)/="

FUZZ_CASES ?= 100000

PREBUILT := $(patsubst programs/%.c,prebuilt/%.o,$(wildcard programs/*.bpf.c))
TEST_OBJECTS := $(patsubst %.c,%.o,$(wildcard tests/objects/*.bpf.c))

help:            ## say what can be made
	@sed -n 's/^\([a-z-]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

prebuilt: $(PREBUILT)           ## compile programs/ into prebuilt/

test-objects: $(TEST_OBJECTS)   ## compile the objects that only tests need

check-prebuilt: prebuilt test-objects   ## compile both, and fail if what is committed differs
	git diff --exit-code --stat -- prebuilt tests/objects
	@test -z "$$(git ls-files --others --exclude-standard prebuilt tests/objects)" || \
		{ git status --short prebuilt tests/objects; echo "these are not committed"; exit 1; }

test:            ## run all tests that this machine can run
	$(PYTHON) -m pytest

coverage:        ## run them, and show the lines that none of them reached
	$(PYTHON) -m pytest --cov --cov-report=term

fuzz:            ## damage objects at random, FUZZ_CASES=100000 of them, in two processes
	@export PUREBPF_FUZZ_CASES=$$(($(FUZZ_CASES) / 2)); \
	$(PYTHON) -m pytest -q tests/fuzz & other=$$!; \
	$(PYTHON) -m pytest -q tests/fuzz; status=$$?; \
	wait $$other && exit $$status

lint:            ## check style and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

clean:           ## remove what the tools left behind; compiled objects are committed, and stay
	rm -rf build dist tests/kernel/.build .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Objects are compiled anew each time: after a git clone, file times do not tell whether an object fits its source.
prebuilt/%.bpf.o: programs/%.bpf.c always
	$(CLANG) $(BPF_CFLAGS) -c "$(CURDIR)/$<" -o $@
	$(STRIP) -g $@

tests/objects/%.bpf.o: tests/objects/%.bpf.c always
	$(CLANG) $(BPF_CFLAGS) -c "$(CURDIR)/$<" -o $@
	$(STRIP) -g $@

always:

# What failed half-way must not pass for an object.
.DELETE_ON_ERROR:

.PHONY: help prebuilt test-objects check-prebuilt test coverage fuzz lint clean always

# What uprobes are set on. Guests have no compiler, so these two are committed too; of what the linker of another system
# makes of them, not every byte is the same, so `make test-objects` leaves them alone.
PROBED_CFLAGS := --target=x86_64-linux-gnu -O2 -g0 -Wall -Wextra -Werror -ffreestanding -nostdlib -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fcf-protection=none -Wl,--build-id=none -Wl,-z,noexecstack

tests/objects/probed.x86_64: tests/objects/probed.c always
	$(CLANG) $(PROBED_CFLAGS) -DPROGRAM -fno-pie -static $< -o $@

tests/objects/probed.x86_64.so: tests/objects/probed.c tests/objects/probed.versions always
	$(CLANG) $(PROBED_CFLAGS) -shared -fPIC -Wl,--version-script=tests/objects/probed.versions $< -o $@

# Some objects are about how they are compiled.
tests/objects/conf_core_direct_v4.bpf.o: BPF_CFLAGS += -mcpu=v4
tests/objects/conf_no_btf.bpf.o: BPF_CFLAGS += -g0

conformance:     ## compare with libbpf what the kernel is handed, object by object (root)
	$(PYTHON) -m tests.conformance
	PUREBPF_FETCH=1 $(PYTHON) -m pytest -q tests/conformance

.PHONY: conformance

bench:           ## compare start, load and memory with libbpf and BCC (root)
	$(PYTHON) -m tests.bench

.PHONY: bench

test-kernels:    ## run the kernel tests on Debian's 5.10, 6.1, 6.12 and newest kernels, in virtual machines
	$(PYTHON) -m tests.vm --report build/kernels

section-table:   ## write docs/sections.md: how far each section name gets, on those kernels and on this one (root)
	$(PYTHON) -m tests.vm.sections

.PHONY: test-kernels section-table
