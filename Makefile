# Plinth. `make help` lists the targets. Everything that is made goes to build/.
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
.DELETE_ON_ERROR:
.SECONDARY:

VERSION := 0.1.0
DEBUG   ?= 0
VENDOR  ?= amd
CC      := gcc
NASM    ?= nasm
ifeq ($(DEBUG),1)
B := build/debug
else
B := build/release
endif
ifneq ($(CC),gcc)
B := $(B)-$(notdir $(lastword $(CC)))# objects of two compilers do not mix
endif
H := build/host
F := build/fuzz

WARN := -Wall -Wextra -Wconversion -Wshadow -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
KFLAGS := -std=c17 -O2 -g -I. -I$(B) $(WARN) -ffreestanding -fno-pic -mcmodel=kernel -mno-red-zone -mgeneral-regs-only \
          -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -fno-strict-aliasing -fno-common \
          -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer -ffunction-sections -DPLINTH_VERSION='"$(VERSION)"'
ifeq ($(DEBUG),1)
KFLAGS += -DPLINTH_DEBUG -fsanitize=undefined -fsanitize-undefined-trap-on-error
ifneq ($(findstring clang,$(CC)),)
KFLAGS += -fsanitize-trap=undefined
endif
endif

# Nothing in the hypervisor needs 16-byte alignment of its stack, since it uses general registers only.
KFLAGS += $(if $(findstring clang,$(CC)),-mstack-alignment=8,-mpreferred-stack-boundary=3)

# --- the hypervisor -------------------------------------------------------------------------------------------
KERNEL_C   := $(filter-out arch/x86_64/offsets.c,$(wildcard boot/*.c arch/x86_64/*.c kernel/*.c lib/*.c vmx/*.c vmx/amd/*.c vmx/intel/*.c \
              io/*.c drivers/*.c devices/*.c guests/*.c shell/*.c))
KERNEL_ASM := $(wildcard boot/*.asm arch/x86_64/*.asm vmx/amd/*.asm vmx/intel/*.asm)
KERNEL_O   := $(KERNEL_C:%.c=$(B)/%.o) $(KERNEL_ASM:%.asm=$(B)/%.asm.o)
LDFLAGS    := -m elf_x86_64 -nostdlib -z max-page-size=4096 --gc-sections -z noexecstack -T linker.ld --fatal-warnings --orphan-handling=error

.PHONY: all
all: $(B)/plinth

$(B)/%.o: %.c $(B)/dsdt.h
	@mkdir -p $(@D); echo "  CC    $<"
	@$(CC) $(KFLAGS) -MMD -MP -c $< -o $@

# The paths of an exit are counted in instructions. DEBUG=1 keeps the frame pointers here too, so its backtraces are whole.
ifneq ($(DEBUG),1)
$(B)/vmx/%.o $(B)/devices/%.o $(B)/io/%.o $(B)/kernel/irq.o $(B)/kernel/share.o $(B)/kernel/timer.o $(B)/guests/machine.o $(B)/kernel/sched.o: KFLAGS += -fomit-frame-pointer
endif

$(B)/%.asm.o: %.asm $(B)/offsets.inc
	@mkdir -p $(@D); echo "  NASM  $<"
	@$(NASM) -f elf64 -g -F dwarf $(if $(filter 1,$(DEBUG)),-DPLINTH_DEBUG) -I. -I$(B)/ -MD $(@:.o=.d) $< -o $@

# Structure offsets for nasm: offsets.c emits lines "->NAME value" into its assembly.
$(B)/offsets.inc: arch/x86_64/offsets.c $(wildcard arch/x86_64/*.h vmx/*.h vmx/amd/*.h vmx/intel/*.h kernel/*.h)
	@mkdir -p $(@D)
	@$(CC) $(KFLAGS) -S $< -o $(B)/offsets.s
	@sed -n 's/.*->\([A-Za-z0-9_]*\) \$$*\(-*[0-9]*\).*/%define \1 \2/p' $(B)/offsets.s > $@

# The guest's DSDT, compiled by ACPICA's iasl to an array.
$(B)/dsdt.h: guests/dsdt.asl
	@mkdir -p $(@D); echo "  IASL  $<"
	@iasl -vs -tc -p $(B)/dsdt $< > $(B)/dsdt.log 2>&1 || { cat $(B)/dsdt.log; exit 1; }
	@sed -e 's/unsigned char [A-Za-z0-9_]*/static const unsigned char dsdt_aml/' $(B)/dsdt.hex > $@

# Linked twice: the second time with the table of function names that crash reports use.
$(B)/plinth: $(KERNEL_O) linker.ld tools/symbols
	@echo "  LD    $@"
	@tools/symbols /dev/null > $(B)/symbols0.asm && $(NASM) -f elf64 $(B)/symbols0.asm -o $(B)/symbols0.o
	@ld $(LDFLAGS) $(KERNEL_O) $(B)/symbols0.o -o $(B)/plinth.0
	@tools/symbols $(B)/plinth.0 > $(B)/symbols.asm && $(NASM) -f elf64 $(B)/symbols.asm -o $(B)/symbols.o
	@ld $(LDFLAGS) $(KERNEL_O) $(B)/symbols.o -o $@

-include $(KERNEL_O:.o=.d)

# --- images and running ---------------------------------------------------------------------------------------
RUN_ISO := $(if $(filter intel,$(VENDOR)),build/demo-bochs.iso,build/demo.iso)

.PHONY: setup iso run
setup:
	@tools/setup

iso: setup
	@$(MAKE) --no-print-directory build/demo.iso

build/demo.iso: $(B)/plinth $(H)/checkconfig tools/mkiso guests/demo/plinth.toml $(wildcard guests/demo/*)
	@guests/demo/build build/demo
	@tools/mkiso build/demo/plinth.toml -o $@ --kernel $(B)/plinth

# Bochs' virtual interrupts have an error that guests with several CPUs meet (docs/debugging.md): there Plinth does without.
build/demo-bochs.iso: build/demo.iso
	@tools/mkiso build/demo/plinth.toml -o $@ --kernel $(B)/plinth --cmdline without=apicv

run: setup
	@$(MAKE) --no-print-directory $(RUN_ISO)
	@VENDOR="$(VENDOR)" CPU="$(CPU)" UEFI="$(UEFI)" tools/run $(RUN_ISO)

# --- host library: what compiles on the host, under sanitizers ------------------------------------------------
HOST_C := $(wildcard lib/*.c devices/*.c) boot/bootinfo.c arch/x86_64/acpi.c kernel/frames.c kernel/heap.c kernel/timer.c \
          $(wildcard kernel/config*.c) $(wildcard kernel/share*.c) kernel/recorder.c $(wildcard io/*.c) $(wildcard vmx/decode*.c) vmx/emulate.c \
          $(wildcard vmx/emulate_*.c) vmx/gva.c vmx/gmem.c vmx/iobus.c vmx/trace_line.c vmx/exit_names.c \
          vmx/task.c vmx/task_load.c vmx/vclock.c vmx/cpuid.c vmx/nested.c vmx/intel/ept.c vmx/intel/controls.c $(wildcard vmx/intel/check*.c) \
          guests/boot.c guests/supervise.c guests/linux.c guests/linux_dmesg.c guests/multiboot.c guests/acpitab.c \
          shell/lineedit.c shell/json.c drivers/pci_scan.c drivers/storage_text.c drivers/nvme_command.c drivers/nvme_queue.c \
          drivers/ata_command.c drivers/ata_channel.c drivers/ahci_port.c drivers/virtio_queue.c drivers/virtio_device.c \
          drivers/virtio_net.c drivers/virtio_net_ring.c drivers/e1000_ring.c
HOST_C := $(filter-out lib/string.c,$(wildcard $(HOST_C))) tests/unit/host/host.c
HOST_FLAGS := -std=gnu17 -O1 -g -Itests/unit/host -I. -I$(B) $(WARN) -fno-omit-frame-pointer -DPLINTH_DEBUG \
              -DPLINTH_VERSION='"$(VERSION)"' -fno-strict-aliasing -fsanitize=address,undefined -fno-sanitize-recover=all
HOST_O := $(HOST_C:%.c=$(H)/%.o)
UNIT   := $(patsubst tests/unit/%.c,$(H)/%,$(wildcard tests/unit/test_*.c))

$(H)/%.o: %.c $(B)/dsdt.h
	@mkdir -p $(@D); echo "  HOST  $<"
	@gcc $(HOST_FLAGS) -MMD -MP -c $< -o $@

$(H)/libplinth.a: $(HOST_O)
	@rm -f $@; ar rcs $@ $^

$(H)/test_%: $(H)/tests/unit/test_%.o $(H)/libplinth.a
	@echo "  LINK  $@"
	@gcc -fsanitize=address,undefined $^ -lcmocka -o $@

$(H)/checkconfig: $(H)/tools/checkconfig.o $(H)/libplinth.a
	@gcc -fsanitize=address,undefined $^ -o $@

-include $(HOST_O:.o=.d) $(wildcard $(H)/tests/unit/*.d $(H)/tools/*.d)

.PHONY: unit unit-programs
unit-programs: $(UNIT)

unit: $(UNIT)
	@tests/run-unit $(UNIT)

# --- test guests: build/guest/NAME.elf ---------------------------------------------------------------------------
include tests/guest/guest.mk

# --- fuzzing --------------------------------------------------------------------------------------------------
FUZZ_FLAGS := $(HOST_FLAGS) -fsanitize=fuzzer-no-link
FUZZ_O := $(HOST_C:%.c=$(F)/%.o)
FUZZ   := $(patsubst tests/fuzz/%.c,$(F)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 60

$(F)/%.o: %.c $(B)/dsdt.h
	@mkdir -p $(@D); echo "  FUZZ  $<"
	@clang $(FUZZ_FLAGS) -MMD -MP -c $< -o $@

$(F)/libplinth.a: $(FUZZ_O)
	@rm -f $@; ar rcs $@ $^

$(F)/fuzz_%: $(F)/tests/fuzz/fuzz_%.o $(F)/libplinth.a
	@echo "  LINK  $@"
	@clang -fsanitize=fuzzer,address,undefined $^ -o $@

-include $(FUZZ_O:.o=.d) $(wildcard $(F)/tests/fuzz/*.d)

.PHONY: fuzz fuzz-programs
fuzz-programs: $(FUZZ)

fuzz: $(FUZZ)
	@tests/run-fuzz $(FUZZ_SECONDS) $(FUZZ)

# --- tests ----------------------------------------------------------------------------------------------------
.PHONY: test check layers bench soak
test: setup
	@tests/run

check: setup
	@tests/run --quick

layers:
	@tests/layers

bench: setup
	@result=0; for part in run io net; do tests/bench/$$part || result=1; done; exit $$result

soak: setup
	@SOAK_SECONDS=$${SOAK_SECONDS:-600} SOAK_VMS=$${SOAK_VMS:-8} CHURN_ENDS=$${CHURN_ENDS:-50} \
	    DEBIAN_ALL=1 DEBIAN_FIO_SECONDS=$${DEBIAN_FIO_SECONDS:-300} \
	    /usr/bin/python3 -m pytest -rP tests/system/test_soak.py tests/system/test_churn.py tests/system/test_debian.py

# --- housekeeping ---------------------------------------------------------------------------------------------
.PHONY: format clean help
format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf build

help:
	@echo "make            build the hypervisor: $(B)/plinth"
	@echo "make run        install missing packages, build, and start the three demo VMs in QEMU"
	@echo "make run VENDOR=intel    the same in Bochs, on an emulated Intel CPU; CPU=MODEL names another one"
	@echo "make iso        the bootable demo image: build/demo.iso"
	@echo "make test       install missing packages and run every test"
	@echo "make check      a quick part of them: one build, the host tests, a few systems"
	@echo "make bench      instructions per exit, next to their targets"
	@echo "make soak       ten minutes of random operations on eight Linux VMs, then 50 VMs that end while they write; Debian on all kinds of disks"
	@echo "make unit       the host tests only; make fuzz FUZZ_SECONDS=60 fuzzes each target that long"
	@echo "make format     clang-format over all C files; make clean removes build/"
	@echo "make DEBUG=1    with assertions and UBSan traps, into build/debug; CC=clang builds into build/release-clang"
	@echo "tools/mkiso CONFIG -o OUT.iso    a bootable image of your own config"
