; Instruction forms in 16-bit code: real mode, with segments whose bases were set in protected mode
; ("unreal"), so that the local APIC can be reached. On entry: DS, ES and GS have the target's page as base
; and 4 GiB limits, FS the scratch buffer; di = bp = 0x380 (the target's offset), bx = 0x280, si = 0, dx =
; 8, cx and ax operands.
%define M di
%define FORM_CODE .low
%define FORM_NAMES .rodata
%include "lib/forms.inc"
%define TARGET 0x380

bits 16
    BASIC_FORMS

FORM BOTH, ALL, "ds:[bp]", add [ds:bp], ecx
FORM BOTH, ALL, "[bx + disp16]", add [word bx + 0x100], ecx
FORM BOTH, ALL, "[bx + si + disp16]", add [word bx + si + 0x100], ecx
FORM BOTH, ALL, "[bx + di - disp16]", add [bx + di - 0x280], ecx
FORM BOTH, ALL, "ds:[bp + si]", xor [ds:bp + si], ecx
FORM BOTH, ALL, "ds:[bp + di - disp16]", sub [ds:bp + di - 0x380], ecx
FORM BOTH, ALL, "[si + disp16]", mov [si + TARGET], ecx
FORM BOTH, ALL, "[disp16]", add [TARGET], ecx
FORM BOTH, ALL, "es:[di]", add [es:di], ecx
FORM BOTH, ALL, "gs:[disp16]", mov eax, [gs:TARGET]
FORM BOTH, ALL, "mov eax, moffs16", mov eax, [TARGET]
FORM BOTH, ALL, "mov moffs16, eax", mov [TARGET], eax
FORM BOTH, ALL, "[edi], 32-bit address size", add [edi], ecx
FORM BOTH, ALL, "[ebx + edx * 4 + disp8]", add [ebx + edx * 4 + 0xe0], ecx
FORM BOTH, ALL, "[disp32]", a32 mov eax, [dword TARGET]
FORM_BEGIN BOTH, ALL, "16-bit address wraps"
    mov     bx, 0xff00
    mov     eax, [bx + di + 0x100]
FORM_END
FORM_BEGIN BOTH, ALL, "stosd"
    stosd
FORM_END
FORM_BEGIN BOTH, ALL, "rep stosd of one"
    mov     cx, 1
    rep stosd
FORM_END
FORM_BEGIN BOTH, ALL, "movsd, RAM to device"
    fs movsd
FORM_END
FORM_BEGIN BOTH, ALL, "lodsd"
    mov     si, di
    lodsd
FORM_END
FORM_BEGIN BOTH, ALL, "scasd"
    scasd
FORM_END
FORM_BEGIN BOTH, ALL, "cmpsd, RAM against device"
    fs cmpsd
FORM_END
FORM_BEGIN HOLE, ALL, "rep stosw of 300"
    mov     cx, 300
    rep stosw
FORM_END
FORM_BEGIN HOLE, ALL, "rep lodsb of 20, 32-bit address size"
    mov     esi, edi
    mov     ecx, 20
    a32 rep lodsb
FORM_END
FORM_BEGIN HOLE, ALL, "repe scasb over equal bytes"
    mov     al, [di]
    mov     cx, 290
    repe scasb
FORM_END

; --- void run_form(const void *code, struct regs *regs): to real mode, through the form, and back
global run_form
section .text
bits 32
run_form:
    pushad
    mov     eax, [esp + 36]
    mov     [form], ax
    mov     esi, [esp + 40]
    mov     [regs_at], esi
    mov     edi, regs
    mov     ecx, 8
    rep movsd
    mov     [stack_at], esp
    jmp     0x20:real_entry
back:
    mov     ax, 0x10
    mov     ds, ax
    mov     es, ax
    mov     fs, ax
    mov     gs, ax
    mov     ss, ax
    mov     esp, [stack_at]
    mov     esi, regs
    mov     edi, [regs_at]
    mov     ecx, 8
    rep movsd
    popad
    ret

section .low
bits 16
real_entry:
    mov     ax, 0x18
    mov     ds, ax
    mov     es, ax
    mov     gs, ax
    mov     ax, 0x30
    mov     fs, ax
    mov     eax, cr0
    and     al, 0xfe
    mov     cr0, eax
    jmp     0:real
real:
    xor     ax, ax
    mov     ss, ax
    mov     sp, 0x7c00
    push    dword [cs:regs + 28]
    popfd
    mov     eax, [cs:regs]
    mov     ecx, [cs:regs + 4]
    mov     edx, [cs:regs + 8]
    mov     ebx, [cs:regs + 12]
    mov     ebp, [cs:regs + 16]
    mov     esi, [cs:regs + 20]
    mov     edi, [cs:regs + 24]
    call    [cs:form]
    pushfd
    pop     dword [cs:regs + 28]
    mov     [cs:regs], eax
    mov     [cs:regs + 4], ecx
    mov     [cs:regs + 8], edx
    mov     [cs:regs + 12], ebx
    mov     [cs:regs + 16], ebp
    mov     [cs:regs + 20], esi
    mov     [cs:regs + 24], edi
    mov     eax, cr0
    or      al, 1
    mov     cr0, eax
    jmp     dword 0x08:back

align 4
form:     dd 0
regs_at:  dd 0
stack_at: dd 0
regs:     times 8 dd 0
