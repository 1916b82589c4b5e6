# Bare-metal guests that test Plinth from inside: build/guest/NAME.elf, Multiboot ELF32.
# tests/guest/README.md says how to write one.
G := build/guest
GUEST_CFLAGS := -std=gnu17 -O2 -g -Itests/guest $(WARN) -ffreestanding -fno-pic -mno-red-zone \
                -mgeneral-regs-only -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
                -fno-strict-aliasing -fno-common
GUEST_LD := -nostdlib -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments --build-id=none \
            -T tests/guest/guest.ld

# These stay in 32-bit protected mode; all others run in long mode.
GUEST_32 := mmio32 mmio16 task32
GUESTS   := $(patsubst tests/guest/%.c,%,$(wildcard tests/guest/*.c)) \
            $(patsubst tests/bench/%.c,%,$(wildcard tests/bench/*.c))
GUEST_64 := $(filter-out $(GUEST_32),$(GUESTS))

GUEST_LIB_C   := $(wildcard tests/guest/lib/*.c)
GUEST_LIB_ASM := tests/guest/lib/stubs.asm

.PHONY: guests
guests: $(GUESTS:%=$(G)/%.elf)

$(G)/64/%.o: %.c
	@mkdir -p $(@D); echo "  GUEST $<"
	@$(CC) -m64 $(GUEST_CFLAGS) -MMD -MP -c $< -o $@

$(G)/32/%.o: %.c
	@mkdir -p $(@D); echo "  GUEST $<"
	@$(CC) -m32 $(GUEST_CFLAGS) -MMD -MP -c $< -o $@

$(G)/64/%.asm.o: %.asm $(wildcard tests/guest/lib/*.inc)
	@mkdir -p $(@D)
	@$(NASM) -f elf64 -g -F dwarf -Itests/guest/ $< -o $@

$(G)/32/%.asm.o: %.asm $(wildcard tests/guest/lib/*.inc)
	@mkdir -p $(@D)
	@$(NASM) -f elf32 -g -F dwarf -Itests/guest/ $< -o $@

$(G)/64/libguest.a: $(GUEST_LIB_C:%.c=$(G)/64/%.o) $(GUEST_LIB_ASM:%.asm=$(G)/64/%.asm.o)
	@rm -f $@; ar rcs $@ $^

$(G)/32/libguest.a: $(GUEST_LIB_C:%.c=$(G)/32/%.o) $(GUEST_LIB_ASM:%.asm=$(G)/32/%.asm.o)
	@rm -f $@; ar rcs $@ $^

# A guest NAME.c may have a NAME.asm (its instruction forms) beside it.
guest_objects = $(G)/$(1)/tests/guest/lib/start$(1).asm.o \
                $(patsubst %.c,$(G)/$(1)/%.o,$(wildcard tests/guest/$(2).c tests/bench/$(2).c)) \
                $(patsubst %.asm,$(G)/$(1)/%.asm.o,$(wildcard tests/guest/$(2).asm tests/bench/$(2).asm))

# Multiboot wants ELF32: the 64-bit ones are linked as ELF64 (NAME.debug, for gdb) and their container is
# rewritten.
define guest_64
$(G)/$(1).elf: $(call guest_objects,64,$(1)) $(G)/64/libguest.a tests/guest/guest.ld
	@ld -m elf_x86_64 $(GUEST_LD) $$(filter %.o %.a,$$^) -o $(G)/$(1).debug
	@objcopy --strip-debug -O elf32-i386 $(G)/$(1).debug $$@
endef
define guest_32
$(G)/$(1).elf: $(call guest_objects,32,$(1)) $(G)/32/libguest.a tests/guest/guest.ld
	@ld -m elf_i386 $(GUEST_LD) $$(filter %.o %.a,$$^) -o $$@
endef
$(foreach name,$(GUEST_64),$(eval $(call guest_64,$(name))))
$(foreach name,$(filter $(GUEST_32),$(GUESTS)),$(eval $(call guest_32,$(name))))

# It starts a second CPU as smp does.
$(G)/bench.elf: $(G)/64/tests/guest/smp.asm.o

-include $(shell find $(G) -name '*.d' 2>/dev/null)
