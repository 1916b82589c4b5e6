; Entering a guest on AMD-V. Source: AMD APM vol. 2, 15.5 (VMRUN), 15.17 (GIF).
%include "offsets.inc"
%include "vmx/registers.inc"

bits 64
default rel
section .text

; void svm_run(struct vcpu *vcpu, struct vmcb *vmcb, hpa_t vmcb_pa)
; The loop is here so that the hypervisor's own registers are saved once for many exits. RAX, RSP, RIP and RFLAGS are switched by
; VMRUN itself, with the VMCB.
global svm_run
svm_run:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    push rdx
    push rsi
    push rdi
.enter:
    mov rax, [rsp + 16]
    LOAD_GUEST
    vmrun
.exited:
    ; RAX and RSP are ours again; the vCPU's address comes from our own stack, never from a guest's register.
    mov rax, [rsp]
    mov [rax + VCPU_RDI], rdi
    STORE_GUEST rax
    mov rdi, rax
    mov rsi, [rsp + 8]
%ifdef PLINTH_DEBUG
    lea rbp, [rsp + 64]                 ; the chain of frames, for a crash report: here lies our caller's RBP
%endif
    call [rdi + VCPU_ON_EXIT]           ; svm_exit()
    mov rdi, [rsp]
    test al, al
    jnz .enter
    add rsp, 24
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

; A single-step trap of the guest's can come here, behind VMRUN (AMD family 10h, erratum 246; Bochs 2.7): the exit tells of it as well, so
; it is dropped, by going on where it came.
section .fixup
    dq svm_run.exited, svm_run.exited
section .text

; void svm_save_host(hpa_t host_vmcb)
global svm_save_host
svm_save_host:
    mov rax, rdi
    vmsave
    ret

; void svm_load(hpa_t guest_vmcb)
; From here to svm_unload GIF is clear: neither interrupt nor NMI reaches the hypervisor. RFLAGS.IF is set, since with
; V_INTR_MASKING it decides whether a physical interrupt ends the guest's run (15.21.1).
global svm_load
svm_load:
    clgi
    sti
    mov rax, rdi
    vmload
    ret

; void svm_unload(hpa_t host_vmcb, hpa_t guest_vmcb)
global svm_unload
svm_unload:
    mov rax, rsi
    vmsave
    mov rax, rdi
    vmload
    cli
    stgi
    ret

; void svm_window(hpa_t host_vmcb, hpa_t guest_vmcb)
; TR must be the hypervisor's while an NMI may come, since NMIs have a stack of their own.
global svm_window
svm_window:
    mov rax, rsi
    vmsave
    mov rax, rdi
    vmload
    stgi
    nop
    clgi
    mov rax, rsi
    vmload
    ret
