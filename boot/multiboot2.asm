; The multiboot2 header and the way from GRUB's 32-bit protected mode to 64-bit code at IMAGE_BASE.
; Sources: Multiboot2 specification 2.0, 3.1 (header) and 3.3 (machine state); AMD APM vol. 2, 14.6 (long mode).
; Everything here runs, and is linked, at its physical address.

MB2_MAGIC         equ 0xe85250d6
MB2_LOADED        equ 0x36d76289        ; EAX at entry
MB2_ARCH_I386     equ 0
MB2_OPTIONAL      equ 1
MB2_TAG_END       equ 0
MB2_TAG_REQUEST   equ 1
MB2_TAG_CONSOLE   equ 4
MB2_TAG_FRAMEBUF  equ 5
MB2_TAG_ALIGN     equ 6

CR0_PE            equ 1 << 0
CR0_MP            equ 1 << 1
CR0_NE            equ 1 << 5
CR0_WP            equ 1 << 16
CR0_PG            equ 1 << 31
CR4_PAE           equ 1 << 5
MSR_EFER          equ 0xc0000080
EFER_LME          equ 1 << 8
EFER_NXE          equ 1 << 11
EFLAGS_ID         equ 1 << 21
CPUID_EDX_NX      equ 1 << 20           ; leaf 0x80000001
CPUID_EDX_LM      equ 1 << 29

PTE_P_RW          equ 0x003
PTE_P_RW_PS       equ 0x083

COM1              equ 0x3f8
UART_LSR_THRE     equ 0x20
POLL_LIMIT        equ 100000

extern kernel_start

section .multiboot2 progbits alloc noexec nowrite align=8
header:
    dd MB2_MAGIC, MB2_ARCH_I386, header_end - header
    dd 0x100000000 - (MB2_MAGIC + MB2_ARCH_I386 + (header_end - header))

    dw MB2_TAG_REQUEST, 0               ; without a memory map there is nothing to run on
    dd 12, 6                            ; 6: memory map
    align 8, db 0
    dw MB2_TAG_REQUEST, MB2_OPTIONAL
    dd 32, 1, 2, 3, 8, 14, 15           ; command line, loader, modules, framebuffer, ACPI 1 and 2 RSDP
    align 8, db 0
    dw MB2_TAG_CONSOLE, MB2_OPTIONAL
    dd 12, 2                            ; 2: EGA text is supported
    align 8, db 0
    dw MB2_TAG_FRAMEBUF, MB2_OPTIONAL
    dd 20, 1024, 768, 32
    align 8, db 0
    dw MB2_TAG_ALIGN, 0
    dd 8
    dw MB2_TAG_END, 0
    dd 8
header_end:

section .boot progbits alloc exec nowrite align=16
bits 32
global boot_entry
boot_entry:
    cli
    cld
    mov esp, early_stack_top
    mov edi, ebx                        ; physical address of the information block: kernel_start's argument

    mov esi, message_loader
    cmp eax, MB2_LOADED
    jne refuse
    mov esi, message_cpu
    call check_cpu
    jc refuse

    call build_tables
    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, early_pml4
    mov cr3, eax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME | EFER_NXE
    wrmsr
    mov eax, CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_PE
    mov cr0, eax
    lgdt [gdt_pointer]
    jmp 0x08:long_mode

; CF = 1 if the CPU lacks long mode or no-execute pages.
check_cpu:
    pushfd                              ; CPUID is there if EFLAGS.ID can be changed (SDM vol. 1, 20.1.2)
    pop eax
    mov ecx, eax
    xor eax, EFLAGS_ID
    push eax
    popfd
    pushfd
    pop eax
    xor eax, ecx
    test eax, EFLAGS_ID
    jz .no
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb .no
    mov eax, 0x80000001
    cpuid
    and edx, CPUID_EDX_LM | CPUID_EDX_NX
    cmp edx, CPUID_EDX_LM | CPUID_EDX_NX
    jne .no
    clc
    ret
.no:
    stc
    ret

; The first 4 GiB, in 2 MiB pages, at 0 and at PHYS_BASE; the first 2 GiB at IMAGE_BASE too (paging.h).
build_tables:
    mov eax, early_pdpt + PTE_P_RW
    mov [early_pml4], eax
    mov [early_pml4 + 256 * 8], eax
    mov dword [early_pml4 + 511 * 8], early_pdpt_image + PTE_P_RW
    mov eax, early_pd + PTE_P_RW
    xor ecx, ecx
.directory:
    mov [early_pdpt + ecx * 8], eax
    add eax, 4096
    inc ecx
    cmp ecx, 4
    jb .directory
    mov dword [early_pdpt_image + 510 * 8], early_pd + PTE_P_RW
    mov dword [early_pdpt_image + 511 * 8], early_pd + 4096 + PTE_P_RW
    mov eax, PTE_P_RW_PS
    xor ecx, ecx
.page:
    mov [early_pd + ecx * 8], eax
    add eax, 2 << 20
    inc ecx
    cmp ecx, 4 * 512
    jb .page
    ret

; Shows the text at ESI on COM1 and at the top of the VGA text screen, then stops for good.
refuse:
    mov edi, 0xb8000
    mov dx, COM1 + 3                    ; 115200 baud, 8N1: divisor 1 behind DLAB (16550 data sheet, 8.3)
    mov al, 0x80
    out dx, al
    mov dx, COM1
    mov al, 1
    out dx, al
    inc dx
    xor al, al
    out dx, al
    mov dx, COM1 + 3
    mov al, 3
    out dx, al
.next:
    lodsb
    test al, al
    jz .halt
    mov ah, 0x0f
    cmp al, ' '
    jb .serial
    stosw
.serial:
    mov bl, al
    mov dx, COM1 + 5
    mov ecx, POLL_LIMIT                 ; a missing UART must not keep the text off the screen
.wait:
    in al, dx
    test al, UART_LSR_THRE
    loopz .wait
    mov dx, COM1
    mov al, bl
    out dx, al
    jmp .next
.halt:
    hlt
    jmp .halt

bits 64
long_mode:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov rsp, boot_stack_top
    mov edi, edi
    push 0                              ; no caller: ends a backtrace
    mov rax, kernel_start
    jmp rax

align 8
global gdt
gdt:
    dq 0
    dq 0x00209a0000000000               ; 64-bit code, ring 0 (APM vol. 2, 4.8.1)
    dq 0x00cf9b000000ffff               ; 32-bit code, ring 0, 4 GiB: for the other CPUs (trampoline.asm)
    dq 0x00cf93000000ffff               ; data, ring 0, 4 GiB
gdt_end:
gdt_pointer:
    dw gdt_end - gdt - 1
    dd gdt

message_loader: db 13, 10, "Plinth cannot start: it was not loaded as a multiboot2 kernel. "
                db "In grub.cfg, load it with the command 'multiboot2'.", 13, 10, 0
message_cpu:    db 13, 10, "Plinth cannot start: this CPU has no 64-bit mode "
                db "with no-execute pages (long mode, NX). "
                db "If the firmware's setup has NX (XD) switched off, switch it on.", 13, 10, 0

section .boot.bss nobits alloc noexec write align=4096
global early_pml4                       ; the other CPUs start on it, too
early_pml4:       resb 4096
early_pdpt:       resb 4096
early_pdpt_image: resb 4096
early_pd:         resb 4 * 4096
                  resb 256
early_stack_top:

section .bss nobits alloc noexec write align=16
                  resb 32768            ; until kernel/main.c moves to the per-CPU stack
boot_stack_top:
