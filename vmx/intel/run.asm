; Entering a guest on VT-x. Source: Intel SDM vol. 3, 27 (VM entries), 28.5 (loading host state), 31.
%include "offsets.inc"
%include "vmx/registers.inc"

bits 64
default rel
section .text

VMCS_HOST_RSP equ 0x6c14

extern vmx_entry_refused

; void vmx_run(struct vcpu *vcpu, bool launched)
; The loop is here so that the hypervisor's own registers are saved once for many exits. An exit arrives at vmx_exit_entry with RSP
; as it was at the entry. When the entry itself is refused, execution goes on behind VMLAUNCH or VMRESUME with the guest's general
; registers in place: RSP alone is ours, and is all that is trusted.
global vmx_run
vmx_run:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    push rdi
    mov eax, VMCS_HOST_RSP
    vmwrite rax, rsp
    test sil, sil
    jnz resume
    mov rax, [rdi + VCPU_RAX]
    LOAD_GUEST
    vmlaunch
    jmp refused
resume:
    mov rax, [rdi + VCPU_RAX]
    LOAD_GUEST
    vmresume
refused:
    mov rdi, [rsp]
    call vmx_entry_refused
    jmp done

global vmx_exit_entry
vmx_exit_entry:
    push rdi
    mov rdi, [rsp + 8]
    mov [rdi + VCPU_RAX], rax
    STORE_GUEST rdi
    pop qword [rdi + VCPU_RDI]
%ifdef PLINTH_DEBUG
    lea rbp, [rsp + 48]                 ; the chain of frames, for a crash report: here lies our caller's RBP
%endif
    call [rdi + VCPU_ON_EXIT]           ; vmx_exit()
    mov rdi, [rsp]
    test al, al
    jnz resume
done:
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
