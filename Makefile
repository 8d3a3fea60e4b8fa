# SPDX-License-Identifier: MIT
#
# `make help` lists what there is. kbuild reads Kbuild instead of this file, so that
# `make -C /lib/modules/$(uname -r)/build M=$PWD` works in a plain checkout.

PREFIX ?= /usr/local
KDIR ?= /lib/modules/$(shell uname -r)/build
O ?= $(CURDIR)/build/native
MACHINE := tests/machine

# What the guest is made of; the scripts read these from the environment.
export CARD MODEL SIZE TYPE PORT SERVER_ARGS P N
export KERNEL CORES DEVICES HBM GENERATION MEM CPUS QEMU_ARGS TIMEOUT KVM LOAD KILN_MIRROR

# The guest's command passes untouched: $ and quotes belong to the guest's shell, not to make.
KILN_CMD := $(value CMD)
export KILN_CMD
unexport CMD

all:
	+@$(MAKE) --no-print-directory -C firmware-sim O='$(abspath $(O))'
	+@$(MAKE) --no-print-directory -C userspace O='$(abspath $(O))'

install: all
	+@$(MAKE) --no-print-directory -C userspace O='$(abspath $(O))' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' install

# Debian packages, in a Debian 13 tree, into build/deb
deb:
	@$(MACHINE)/mkdeb

module:
	+$(MAKE) -C $(KDIR) M='$(CURDIR)' modules

# Everything a guest needs, made in the Debian 13 tree.
machine:
	@$(MACHINE)/mkqemu >/dev/null
	@$(MACHINE)/mkmodule
	@$(MACHINE)/mkuser firmware-sim userspace

run: machine
	@$(MACHINE)/guest -- tests/guest/workloads.sh

# A test that does not compile is one that failed; the others still run.
test: machine
	-@$(MACHINE)/mkuser tests
	@tests/run $(T)

quick: machine
	-@$(MACHINE)/mkuser tests
	@KILN_QUICK=1 tests/run $(T)

bench: machine
	@tests/bench/run

bench-submit: machine
	@tests/bench/run-submit

bench-engine:
	@$(MACHINE)/mkuser firmware-sim userspace
	@tests/bench/run-engine $(B)

bench-time:
	@$(MACHINE)/mkuser firmware-sim userspace
	@tests/bench/run-time $(B)

# The errors of the elementary functions over all arguments, into docs/numerics.md
numerics:
	@$(MACHINE)/mkuser firmware-sim tests
	@tests/numerics/run

# ggml's conformance suite on the card, into docs/conformance.md; CARD=sim without a guest, OPS= only these
conformance: machine
	@tests/conformance/run $(OPS)

serve: machine
	@tests/serve/run

bench-serve: machine
	@tests/serve/bench

# KERNEL=debug unless another is wanted
stress: KERNEL := $(or $(KERNEL),debug)
stress: machine
	@$(MACHINE)/mkuser tests
	@tests/stress/run $(or $(SECONDS),600) $(SEED)

guest: machine
	@[ -n "$$KILN_CMD" ] || { echo "kiln: say what to run: make guest CMD='kiln info'" >&2; exit 2; }
	@$(MACHINE)/guest -- "$$KILN_CMD"

shell: machine
	@$(MACHINE)/guest --shell

clean:
	rm -rf build

help:
	@cat $(MACHINE)/help

.PHONY: all install deb module machine run test quick bench bench-engine bench-submit bench-time numerics conformance serve bench-serve guest shell clean help
