; Instruction forms in 64-bit code. On entry: r9 = rdi = target, r8 = scratch buffer in RAM, rbx = target -
; 0x100, rbp = r12 = r13 = target, rdx = 8, rcx and rax operands, FS and GS bases = target - 0x40.
%define MODE64
%define M rdi
%define FORM_CODE .text
%define FORM_NAMES .rodata
%include "lib/forms.inc"
extern mmio_alias            ; the target's address, as a symbol (guest.ld)

bits 64
default abs
    BASIC_FORMS

; --- 64-bit operands and registers
FORM HOLE, ALL, "mov m64, r64", mov [r9], rcx
FORM HOLE, ALL, "mov r64, m64", mov rax, [r9]
FORM HOLE, ALL, "mov m64, imm32", mov qword [r9], -2
FORM HOLE, ALL, "mov sil, m8", mov sil, [r9]
FORM HOLE, ALL, "mov r15b, m8", mov r15b, [r9]
FORM HOLE, ALL, "movzx r64, m8", movzx rax, byte [r9]
FORM HOLE, ALL, "movzx r64, m16", movzx r14, word [r9]
FORM HOLE, ALL, "movsx r64, m8", movsx rax, byte [r9]
FORM HOLE, ALL, "movsx r64, m16", movsx r11, word [r9]
FORM BOTH, ALL, "movsxd r64, m32", movsxd rax, dword [r9]
FORM HOLE, ALL, "xchg m64, r64", xchg [r9], rcx
FORM HOLE, ALL, "xadd m64, r64", xadd [r9], rcx
FORM HOLE, ALL, "cmpxchg m64, r64", cmpxchg [r9], rcx
FORM HOLE, LOGIC, "test m64, imm32", test qword [r9], -0x80000000

; --- addressing
FORM BOTH, ALL, "[r9]", add [r9], ecx
FORM BOTH, ALL, "[rbp]", add [rbp], ecx
FORM BOTH, ALL, "[r12] by SIB", add [r12], ecx
FORM BOTH, ALL, "[r13]", add [r13], ecx
FORM BOTH, ALL, "[base + disp32]", add [dword rbx + 0x100], ecx
FORM BOTH, ALL, "[base + index]", add [rbx + rdx + 0xf8], ecx
FORM BOTH, ALL, "[base + index * 4 + disp8]", add [rbx + rdx * 4 + 0xe0], ecx
FORM BOTH, ALL, "[base + index * 8 + disp32]", mov r14d, [dword rbx + rdx * 8 + 0xc0]
FORM BOTH, ALL, "[disp32] by SIB", mov [abs mmio_alias], ecx
FORM BOTH, ALL, "[rel]", mov [rel mmio_alias], ecx
FORM BOTH, ALL, "[rel] with an immediate after it", add dword [rel mmio_alias], 0x01020304
FORM BOTH, ALL, "[rel] with an 8-bit immediate after it", add dword [rel mmio_alias], byte 5
FORM BOTH, ALL, "mov eax, moffs64", mov eax, [qword mmio_alias]
FORM BOTH, ALL, "mov moffs64, eax", mov [qword mmio_alias], eax
FORM BOTH, ALL, "[e base], 32-bit address size", add [ebp], ecx
FORM BOTH, ALL, "[e base + index * 2], 32-bit address size", mov eax, [ebx + edx * 2 + 0xf0]
FORM BOTH, ALL, "fs: base", add [fs:0x40], ecx
FORM BOTH, ALL, "gs: base with index", mov eax, [gs:rdx * 8]
FORM_BEGIN BOTH, ALL, "[rsp + index]"
    mov     r10, r9
    sub     r10, rsp
    add     [rsp + r10], ecx
    xor     r10, r10
FORM_END
FORM_BEGIN BOTH, ALL, "[base + negative index]"
    mov     r10, -64
    lea     r11, [r9 + 64]
    xor     [r11 + r10], ecx
FORM_END
FORM_BEGIN BOTH, ALL, "32-bit address wraps at 4 GiB"
    mov     r10, 0xffffffffffffff00
    lea     r11, [r9 + 0x100]
    mov     [r11d + r10d], ecx
FORM_END

; --- strings
FORM_BEGIN BOTH, ALL, "stosd"
    mov     rdi, r9
    stosd
FORM_END
FORM_BEGIN BOTH, ALL, "rep stosd of one"
    mov     rdi, r9
    mov     ecx, 1
    rep stosd
FORM_END
FORM_BEGIN BOTH, ALL, "rep stosd of none"
    mov     rdi, r9
    xor     ecx, ecx
    rep stosd
FORM_END
FORM_BEGIN BOTH, ALL, "stosd, 32-bit address size"
    mov     edi, r9d
    a32 stosd
FORM_END
FORM_BEGIN BOTH, ALL, "movsd, RAM to device"
    mov     rsi, r8
    mov     rdi, r9
    movsd
FORM_END
FORM_BEGIN BOTH, ALL, "movsd backwards, device to RAM"
    mov     rsi, r9
    lea     rdi, [r8 + 16]
    std
    movsd
    cld
FORM_END
FORM_BEGIN BOTH, ALL, "rep movsd of one, device to RAM"
    mov     rsi, r9
    mov     rdi, r8
    mov     ecx, 1
    rep movsd
FORM_END
FORM_BEGIN BOTH, ALL, "gs: movsd"
    mov     esi, 0x40
    mov     rdi, r8
    gs movsd
FORM_END
FORM_BEGIN BOTH, ALL, "lodsd"
    mov     rsi, r9
    lodsd
FORM_END
FORM_BEGIN BOTH, ALL, "scasd"
    mov     rdi, r9
    scasd
FORM_END
FORM_BEGIN BOTH, ALL, "cmpsd, RAM against device"
    mov     rsi, r8
    mov     rdi, r9
    cmpsd
FORM_END
FORM_BEGIN HOLE, ALL, "rep stosd of 300"
    mov     rdi, r9
    mov     ecx, 300
    rep stosd
FORM_END
FORM_BEGIN HOLE, ALL, "rep movsb of 1000, device to RAM"
    mov     rsi, r9
    mov     rdi, r8
    mov     ecx, 1000
    rep movsb
FORM_END
FORM_BEGIN HOLE, ALL, "rep movsq of 20, device to RAM"
    mov     rsi, r9
    mov     rdi, r8
    mov     ecx, 20
    rep movsq
FORM_END
FORM_BEGIN HOLE, ALL, "rep movsw of 30, backwards"
    lea     rsi, [r9 + 0x200]
    lea     rdi, [r8 + 0x200]
    mov     ecx, 30
    std
    rep movsw
    cld
FORM_END
FORM_BEGIN HOLE, ALL, "rep lodsb of 300"
    mov     rsi, r9
    mov     ecx, 300
    rep lodsb
FORM_END
FORM_BEGIN HOLE, ALL, "repe scasb over equal bytes"
    mov     rdi, r9
    mov     al, [r9]
    mov     ecx, 400
    repe scasb
FORM_END
FORM_BEGIN HOLE, ALL, "repne scasd finds at once"
    mov     rdi, r9
    mov     eax, [r9]
    mov     ecx, 50
    repne scasd
FORM_END
FORM_BEGIN HOLE, ALL, "repe cmpsb, device against itself"
    mov     rsi, r9
    lea     rdi, [r9 + 0x100]
    mov     ecx, 100
    repe cmpsb
FORM_END

section .text
; void run_form(const void *code, struct regs *regs): loads all registers but RSP and the flags, calls,
; stores them.
global run_form
run_form:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    mov     [code], rdi
    mov     [regs], rsi
    mov     rax, rsi
    push    qword [rax + 15 * 8]
    popfq
    mov     rcx, [rax + 8]
    mov     rdx, [rax + 16]
    mov     rbx, [rax + 24]
    mov     rbp, [rax + 32]
    mov     rsi, [rax + 40]
    mov     rdi, [rax + 48]
    mov     r8, [rax + 56]
    mov     r9, [rax + 64]
    mov     r10, [rax + 72]
    mov     r11, [rax + 80]
    mov     r12, [rax + 88]
    mov     r13, [rax + 96]
    mov     r14, [rax + 104]
    mov     r15, [rax + 112]
    mov     rax, [rax]
    call    [code]
    pushfq
    push    rax
    mov     rax, [regs]
    pop     qword [rax]
    pop     qword [rax + 15 * 8]
    mov     [rax + 8], rcx
    mov     [rax + 16], rdx
    mov     [rax + 24], rbx
    mov     [rax + 32], rbp
    mov     [rax + 40], rsi
    mov     [rax + 48], rdi
    mov     [rax + 56], r8
    mov     [rax + 64], r9
    mov     [rax + 72], r10
    mov     [rax + 80], r11
    mov     [rax + 88], r12
    mov     [rax + 96], r13
    mov     [rax + 104], r14
    mov     [rax + 112], r15
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

section .bss nobits
code: resq 1
regs: resq 1
