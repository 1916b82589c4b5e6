; Instruction forms in 32-bit code. On entry: DS, ES and GS have the target's page as base, the others are
; flat; edi = ebp = 0x380 (the target's offset), ebx = 0x280, esi = scratch buffer (flat), edx = 8, ecx and
; eax operands.
%define M edi
%define FORM_CODE .text
%define FORM_NAMES .rodata
%include "lib/forms.inc"
%define TARGET 0x380

bits 32
    BASIC_FORMS

FORM BOTH, ALL, "ds:[ebp]", add [ds:ebp], ecx
FORM BOTH, ALL, "es:[edi]", add [es:edi], ecx
FORM BOTH, ALL, "gs:[base + disp32]", add [gs:dword ebx + 0x100], ecx
FORM BOTH, ALL, "[disp32]", add [TARGET], ecx
FORM BOTH, ALL, "[base + index]", add [ebx + edx + 0xf8], ecx
FORM BOTH, ALL, "[base + index * 4 + disp8]", add [ebx + edx * 4 + 0xe0], ecx
FORM BOTH, ALL, "[index * 8 + disp32]", xor [edx * 8 + TARGET - 64], ecx
FORM BOTH, ALL, "mov eax, moffs32", mov eax, [TARGET]
FORM BOTH, ALL, "mov moffs32, eax", mov [TARGET], eax
FORM BOTH, ALL, "[di], 16-bit address size", add [di], ecx
FORM BOTH, ALL, "[bx + di - disp16], 16-bit address size", add [bx + di - 0x280], ecx
FORM BOTH, ALL, "[disp16], 16-bit address size", a16 mov eax, [word TARGET]
FORM_BEGIN BOTH, ALL, "flat segment: fs:"
    mov     eax, gs          ; as selectors, not bases: only the override is of interest
    mov     ebx, [fs:esi]
    mov     [gs:edi], ebx
FORM_END
FORM_BEGIN BOTH, ALL, "ds:[esp + index]"
    mov     ebx, edi
    sub     ebx, esp
    add     [ds:esp + ebx], ecx
    xor     ebx, ebx
FORM_END
FORM_BEGIN BOTH, ALL, "stosd"
    stosd
FORM_END
FORM_BEGIN BOTH, ALL, "rep stosd of one"
    mov     ecx, 1
    rep stosd
FORM_END
FORM_BEGIN BOTH, ALL, "movsd, RAM to device"
    fs movsd
FORM_END
FORM_BEGIN BOTH, ALL, "movsd, device to RAM"
    push    ss
    pop     es
    xchg    esi, edi
    movsd
    push    gs
    pop     es
FORM_END
FORM_BEGIN BOTH, ALL, "lodsd"
    mov     esi, edi
    lodsd
FORM_END
FORM_BEGIN BOTH, ALL, "gs: lodsd, backwards"
    mov     esi, edi
    std
    gs lodsd
    cld
FORM_END
FORM_BEGIN BOTH, ALL, "scasd"
    scasd
FORM_END
FORM_BEGIN BOTH, ALL, "cmpsd, RAM against device"
    fs cmpsd
FORM_END
FORM_BEGIN HOLE, ALL, "rep stosw of 300"
    mov     ecx, 300
    rep stosw
FORM_END
FORM_BEGIN HOLE, ALL, "rep movsb of 400, device to RAM"
    push    ss
    pop     es
    xchg    esi, edi
    mov     ecx, 400
    rep movsb
    push    gs
    pop     es
FORM_END
FORM_BEGIN HOLE, ALL, "rep stosb of 20, 16-bit address size"
    mov     ecx, 0x00050014
    a16 rep stosb
FORM_END
FORM_BEGIN HOLE, ALL, "repe scasb over equal bytes"
    mov     al, [edi]
    mov     ecx, 290
    repe scasb
FORM_END

section .text
; void run_form(const void *code, struct regs *regs)
global run_form
run_form:
    push    ebx
    push    ebp
    push    esi
    push    edi
    mov     eax, [esp + 20]
    mov     [code], eax
    mov     eax, [esp + 24]
    mov     [regs], eax
    push    dword [eax + 28]
    popfd
    mov     ecx, [eax + 4]
    mov     edx, [eax + 8]
    mov     ebx, [eax + 12]
    mov     ebp, [eax + 16]
    mov     esi, [eax + 20]
    mov     edi, [eax + 24]
    mov     eax, [eax]
    push    dword 0x18
    pop     ds
    push    dword 0x18
    pop     es
    push    dword 0x18
    pop     gs
    call    [ss:code]
    pushfd
    push    ss
    pop     ds
    push    ss
    pop     es
    push    ss
    pop     gs
    push    eax
    mov     eax, [regs]
    pop     dword [eax]
    pop     dword [eax + 28]
    mov     [eax + 4], ecx
    mov     [eax + 8], edx
    mov     [eax + 12], ebx
    mov     [eax + 16], ebp
    mov     [eax + 20], esi
    mov     [eax + 24], edi
    pop     edi
    pop     esi
    pop     ebp
    pop     ebx
    ret

section .bss nobits
code: resd 1
regs: resd 1
