# SPDX-License-Identifier: Apache-2.0
# Builds hardtack, runs its tests and its demonstration: `make help`. New files in user/, bpf/ and
# tests/ are found by themselves. What needs more than a few lines of shell is in scripts/.

SAN ?=
O ?= $(if $(SAN),build/san,build)
PREFIX ?= /usr/local
DESTDIR ?=
SECONDS ?= 60
CFLAGS ?= -O2 -g
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-8s %s\n' $(1) $(2))
export PATH := $(PATH):/usr/sbin:/sbin
export CC O FILTER KERNELS FULL

CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
CLANG ?= clang
STRIP_BPF ?= llvm-strip
BPFTOOL ?= bpftool

flags := -std=gnu17 -Wall -Wextra -Werror -Wno-format-truncation -D_GNU_SOURCE -Iinclude -Iuser -I$(O)
flags += -fstack-protector-strong -fPIE -pthread
ldflags := -pie -Wl,-z,relro,-z,now,--as-needed -pthread
ifdef SAN
flags += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
ldflags += -fsanitize=$(SAN)
else
flags += -D_FORTIFY_SOURCE=2
endif
# Expanded when used: gcc itself may only just have been installed.
bpf_flags = -target bpf -mcpu=v3 -O2 -g -Wall -Werror -Iinclude -Ibpf \
	-I/usr/include/$(shell gcc -print-multiarch)
libs := -lxdp -lbpf -lelf -lz -lssl -lcrypto -lyaml -ljansson -lmaxminddb -lmemcached
# Each test is a process of its own: it starts in a third of the time where nothing needs to be looked
# up or moved, a library of four thousand symbols least of all.
test_ldflags := $(filter-out -pie,$(ldflags)) -no-pie -Wl,--exclude-libs,ALL
static := -Wl,-Bstatic -lxdp -lbpf -lelf -lssl -lcrypto -ljansson -lz -Wl,-Bdynamic
test_libs := -lcriterion -lyaml -lmaxminddb -lmemcached -lhttp_parser $(static)
e2e_libs := -lcriterion $(static)

# ---- what there is ----
# Everything but the two mains goes into one archive: each program links what it uses of it.
user := $(patsubst user/%.c,$(O)/obj/user/%.o,$(wildcard user/*.c))
mains := $(O)/obj/user/main.o $(O)/obj/user/hardtackctl.o
skels := $(patsubst bpf/%.bpf.c,$(O)/%.skel.h,$(wildcard bpf/*.bpf.c))
tests := unit bpf e2e
test_objs = $(patsubst %.c,$(O)/obj/%.o,$(filter-out %.bpf.c,$(wildcard tests/$(1)/*.c)))
git2 := $(O)/obj/tests/git2.o # not the library, see there
fuzzers := $(patsubst tests/fuzz/%.c,$(O)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
# With -DHT_WEAK the gate has guards that can be left out, so that tests/bpf can show the attacks.
weak := $(patsubst %.c,$(O)/weak/%.o,user/offload.c $(filter-out %.bpf.c,$(wildcard tests/bpf/*.c)))
bench_objs := $(patsubst %.c,$(O)/obj/%.o,$(wildcard scripts/bench/*.c))
objs := $(user) $(foreach t,$(tests),$(call test_objs,$(t))) $(git2) $(bench_objs)

.PHONY: all programs tests fuzzers run test test-unit test-bpf test-e2e test-vm fuzz \
	bench bench-guard bench-insn lint format install deb clean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(O)/hardtackd $(O)/hardtackctl
tests: $(tests:%=$(O)/tests/%) $(O)/tests/bpf-weak
fuzzers: $(fuzzers)

# ---- compiling ----
# Packages first; then a file that changes when the flags do. Everything compiled depends on both.
$(O)/.setup: scripts/setup.sh
	$(Q)mkdir -p $(O)
	$(Q)scripts/setup.sh
	@touch $@

$(O)/.flags: FORCE | $(O)/.setup
	@echo '$(CC) $(CFLAGS) $(flags) $(LDFLAGS) $(ldflags)' | cmp -s - $@ || \
		echo '$(CC) $(CFLAGS) $(flags) $(LDFLAGS) $(ldflags)' >$@
FORCE:

$(objs): $(O)/obj/%.o: %.c $(O)/.flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(flags) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(weak): $(O)/weak/%.o: %.c $(O)/.flags | $(skels:$(O)/%=$(O)/weak/%)
	$(call say,WEAK,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -DHT_WEAK -I$(O)/weak $(flags) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(O)/obj/user/offload.o $(O)/obj/user/guard_xdp.o $(O)/obj/user/guard_share.o $(call test_objs,bpf): | $(skels)
$(call test_objs,bpf): | $(O)/weak/stack.skel.h $(O)/counter.skel.h

$(O)/libhardtack.a: $(filter-out $(mains),$(user))
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(O)/hardtackd: $(O)/obj/user/main.o $(O)/libhardtack.a
$(O)/hardtackctl: $(O)/obj/user/hardtackctl.o $(O)/libhardtack.a
$(O)/hardtackd $(O)/hardtackctl:
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(ldflags) $(LDFLAGS) -o $@ $^ $(libs)

$(O)/tests/unit: $(call test_objs,unit) $(git2) $(O)/libhardtack.a
$(O)/tests/bpf: $(call test_objs,bpf) $(git2) $(O)/libhardtack.a
$(O)/tests/bpf-weak: $(weak) $(git2) $(O)/libhardtack.a
$(O)/tests/unit $(O)/tests/bpf $(O)/tests/bpf-weak:
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(test_ldflags) $(LDFLAGS) -o $@ $^ $(test_libs)

$(O)/tests/e2e: $(call test_objs,e2e) $(git2)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(test_ldflags) $(LDFLAGS) -o $@ $^ $(e2e_libs)

$(O)/bench/load: $(filter-out %/gate.o %/guard_attack.o,$(bench_objs))
$(O)/bench/gate: $(filter %/gate.o,$(bench_objs)) $(O)/libhardtack.a
$(O)/bench/guard_attack: $(filter %/guard_attack.o,$(bench_objs))
$(O)/bench/load $(O)/bench/gate $(O)/bench/guard_attack:
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(ldflags) $(LDFLAGS) -o $@ $^ $(libs)

# A fuzzer is one file with LLVMFuzzerTestOneInput(); `make fuzz` builds it in $(O)/fuzz with clang.
$(O)/tests/fuzz/%: tests/fuzz/%.c $(O)/libhardtack.a
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(flags) $(CFLAGS) -fsanitize=fuzzer -MMD -MP -MF $@.d $(ldflags) -o $@ $< $(O)/libhardtack.a $(libs) -lhttp_parser

# ---- BPF ----
$(O)/%.bpf.o: bpf/%.bpf.c Makefile | $(O)/.setup
	$(call say,BPF,$<)
	$(Q)$(CLANG) $(bpf_flags) -MMD -MP -c -o $@ $<
	$(Q)$(STRIP_BPF) -g $@

$(O)/weak/%.bpf.o: bpf/%.bpf.c Makefile | $(O)/.setup
	$(call say,WEAK,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(bpf_flags) -DHT_WEAK -MMD -MP -c -o $@ $<
	$(Q)$(STRIP_BPF) -g $@

# The deliberate break of test_stack.c, with a state that is small enough for a stack.
$(O)/weak/stack/abi.h: include/abi.h include/words.h include/head.h include/cut.h
	@mkdir -p $(@D)
	$(Q)cp include/words.h include/head.h include/cut.h $(@D)/
	$(Q)sed 's/^\(#define HT_OCC_MAX\) .*/\1 4/; s/^\(#define HT_SEEN_MAX\) .*/\1 8/' include/abi.h >$@
	$(Q)! cmp -s include/abi.h $@

$(O)/weak/stack.bpf.o: tests/bpf/stack.bpf.c $(O)/weak/stack/abi.h Makefile | $(O)/.setup
	$(call say,WEAK,$<)
	$(Q)$(CLANG) -I$(O)/weak/stack $(bpf_flags) -Wno-unused-function -MMD -MP -c -o $@ $<
	$(Q)$(STRIP_BPF) -g $@

$(O)/counter.bpf.o: tests/bpf/counter.bpf.c Makefile | $(O)/.setup
	$(call say,BPF,$<)
	$(Q)$(CLANG) $(bpf_flags) -MMD -MP -c -o $@ $<
	$(Q)$(STRIP_BPF) -g $@

$(O)/%.skel.h: $(O)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $(notdir $*) >$@

-include $(objs:.o=.d) $(weak:.o=.d) $(fuzzers:=.d) $(wildcard $(O)/*.bpf.d $(O)/weak/*.bpf.d)

# ---- running and testing ----
run: all
	$(Q)ONCE=$(ONCE) scripts/demo.sh

# Each part is built, with all processors unless -j says otherwise, then run by scripts/test.sh, which
# adds up what passed.
again = $(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
sanitized = $(if $(SAN),,+@$(again) SAN=address,undefined O=$(O)/san $(1))
fuzz_build = +@$(again) CC=$(CLANG) SAN=address,undefined,fuzzer-no-link \
	O=$(O)/fuzz CFLAGS='-O1 -g -Wno-error -Wno-unknown-warning-option' fuzzers

test: $(O)/.setup
	+@$(again) all tests
	+@$(again) deb
	$(call sanitized,all tests)
	$(fuzz_build)
	$(Q)scripts/test.sh lint unit bpf e2e deb fuzz vm-short
test-unit: $(O)/tests/unit
	$(call sanitized,$(O)/san/tests/unit)
	$(Q)scripts/test.sh unit
test-bpf: $(O)/tests/bpf $(O)/tests/bpf-weak
	$(Q)scripts/test.sh bpf
test-e2e: all $(O)/tests/e2e
	$(call sanitized,all $(O)/san/tests/e2e)
	$(Q)scripts/test.sh e2e
test-vm: all $(O)/tests/bpf $(O)/tests/bpf-weak $(O)/tests/e2e
	$(Q)scripts/test.sh vm
fuzz:
	$(fuzz_build)
	$(Q)scripts/test.sh fuzz=$(SECONDS)
lint: $(O)/.setup
	$(Q)scripts/test.sh lint
format: $(O)/.setup
	$(Q)clang-format -i $(wildcard user/*.[ch] include/*.h bpf/*.[ch] tests/*/*.[ch])

bench: all $(O)/bench/load $(O)/bench/gate $(O)/bench/guard_attack
	$(Q)QUICK=$(QUICK) scripts/bench/bench.sh

bench-guard: all $(O)/bench/load $(O)/bench/guard_attack
	$(Q)QUICK=$(QUICK) scripts/bench/guard.sh

bench-insn: all $(O)/bench/load $(O)/bench/gate
	$(Q)scripts/bench/insn.sh

# The unit belongs to systemd's own directory, unless hardtack goes elsewhere than /usr.
unitdir = $(if $(filter /usr,$(PREFIX)),/lib,$(PREFIX)/lib)/systemd/system
install: all
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,sbin bin share/man/man5 share/man/man7 share/man/man8 share/doc/hardtack)
	install -d $(DESTDIR)$(unitdir)
	install -m 755 $(O)/hardtackd $(DESTDIR)$(PREFIX)/sbin/
	install -m 755 $(O)/hardtackctl $(DESTDIR)$(PREFIX)/bin/
	install -m 644 scripts/dist/*.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 scripts/dist/*.7 $(DESTDIR)$(PREFIX)/share/man/man7/
	install -m 644 scripts/dist/*.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	sed 's|=/usr/|=$(PREFIX)/|' scripts/dist/hardtack.service >$(DESTDIR)$(unitdir)/hardtack.service
	chmod 644 $(DESTDIR)$(unitdir)/hardtack.service
	install -m 644 README.md LICENSE scripts/dist/hardtack.yaml $(DESTDIR)$(PREFIX)/share/doc/hardtack/

deb: all
	$(Q)rm -rf $(O)/deb
	$(Q)$(MAKE) --no-print-directory -s install DESTDIR=$(O)/deb/root PREFIX=/usr
	$(Q)O=$(O) scripts/dist/deb.sh

clean:
	@test ! -e $(O)/.setup || rm -rf $(O)

help:
	@sed -n 's/^#? //p' Makefile

#? make               hardtackd and hardtackctl, in build/
#? make run [ONCE=1]  the demonstration: nginx, the gateway, real requests; ONCE=1 ends by itself
#? make test          everything that tests, with one line of totals at the end:
#?   make lint test-unit test-bpf test-e2e [FILTER=word] fuzz [SECONDS=60]: parts of it
#? make test-vm       [KERNELS="6.1 6.12 newest"] [FULL=1]: all of it on other kernels under QEMU; of it make test has the whole on two
#? make format        clang-format over the C files
#? make install       [DESTDIR=] [PREFIX=/usr/local]
#? make clean
#? make bench [QUICK=1]  hardtack beside nginx, HAProxy and others, into build/bench/
#? make deb           build/hardtack_VERSION_ARCH.deb
#? make bench-guard [QUICK=1]  honest clients while somebody forges, guard off and on; part of make bench
#? make bench-insn [KERNEL=6.12]  instructions per request, handshake and verdict, in a virtual machine; 25 minutes
#? variables: O=build (where), V=1 (show commands), SAN=address,undefined (then O=build/san)
