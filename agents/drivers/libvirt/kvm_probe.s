# The boot sector by which an agent finds out whether KVM runs what boot loaders and kernels run on their way up.
#
# It goes through the processor's modes as they do and uses in each of them what a half-working KVM, one that emulates
# guest code instead of running it, is known to lack:
#
#   r  real mode: far jump, segment loads, a BIOS service by software interrupt, which returns by iret
#   p  32-bit protected mode without paging: far jump, segment loads, string moves, iret, lret, a software interrupt
#   b  back to real mode by way of 16-bit protected mode and a BIOS service there, as boot loaders read their disks
#   l  long mode with paging: far jump, segment loads, a software interrupt with iretq
#   i  long mode: hlt until the timer's interrupt comes
#
# The letter of each stage is written to port 0xe9 (isa-debugcon) once it is passed; at the end 0x10 goes to port 0xf4
# (isa-debug-exit), which ends QEMU with status 33. A fault that the program does not expect is a triple fault, which
# ends QEMU, run with -no-reboot, with status 0.
#
# kvm_probe.py holds what this assembles to; tests/unit/agents/test_kvm_probe.py says how and that the two are equal.

.set STACK, 0x7000
.set TABLES, 0x1000             # three pages: PML4, PDPT, page directory
.set COPY, 0x6000               # of this sector, by string moves
.set CODE32, 8
.set DATA, 16
.set CODE16, 24
.set DATA16, 32
.set CODE64, 40

.macro passed letter
    movb $\letter, %al
    outb %al, $0xe9
.endm

.macro segments selector
    movw $\selector, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
.endm

.code16
.globl _start
_start:
    cli
    cld
    ljmp $0, $real
real:
    segments 0
    movw $_start, %sp
    sti
    int $0x12                   # how much memory there is: the BIOS's shortest service
    cli
    passed 'r'
    lgdtl gdtr
    lidtl idtr32
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $CODE32, $protected

.code32
protected:
    segments DATA
    movw %ax, %fs
    movw %ax, %gs
    movl $STACK, %esp
    pushfl
    pushl $CODE32
    pushl $1f
    iretl
1:  pushl $CODE32
    pushl $2f
    lretl
2:  int $0x30
    movl $_start, %esi
    movl $COPY, %edi
    movl $128, %ecx
    rep movsl
    passed 'p'
    ljmpl $CODE16, $protected16

.code16
protected16:
    segments DATA16
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmp $0, $real_again
real_again:
    segments 0
    movw $_start, %sp
    lidtl idtr_real
    sti
    int $0x12
    cli
    passed 'b'
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $CODE32, $paged

.code32
paged:                          # the first 2 MiB are mapped to themselves
    segments DATA
    movl $TABLES, %edi
    movl %edi, %cr3
    xorl %eax, %eax
    movl $3072, %ecx
    rep stosl
    movl $TABLES + 0x1003, TABLES
    movl $TABLES + 0x2003, TABLES + 0x1000
    movl $0x83, TABLES + 0x2000
    movl %cr4, %eax
    orb $0x20, %al              # PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx      # EFER
    rdmsr
    orb $1, %ah                 # LME
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax       # PG
    movl %eax, %cr0
    ljmpl $CODE64, $long

.code64
long:
    segments DATA
    movl $STACK, %esp
    lidt idtr64
    int $0x21
    passed 'l'
    movb $0x11, %al             # the interrupt controller's first line, the timer's, is vector 0x20; the others are off
    outb %al, $0x20
    movb $0x20, %al
    outb %al, $0x21
    movb $4, %al
    outb %al, $0x21
    movb $1, %al
    outb %al, $0x21
    movb $0xfe, %al
    outb %al, $0x21
    sti
1:  hlt
    cmpb $0, ticks
    je 1b
    passed 'i'
    movb $0x10, %al
    outb %al, $0xf4
2:  hlt
    jmp 2b

timer:
    incb ticks
    movb $0x20, %al
    outb %al, $0x20
call64:
    iretq

.code32
call32:
    iretl

gate32:                         # vector 0x30
    .word call32, CODE32, 0x8e00, 0
gates64:                        # vectors 0x20 and 0x21
    .word timer, CODE64, 0x8e00, 0, 0, 0, 0, 0
    .word call64, CODE64, 0x8e00, 0, 0, 0, 0, 0
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff    # CODE32
    .quad 0x00cf92000000ffff    # DATA
    .quad 0x00009a000000ffff    # CODE16
    .quad 0x000092000000ffff    # DATA16
    .quad 0x00209a0000000000    # CODE64
gdtr:
    .word . - gdt - 1
    .long gdt
idtr32:
    .word 0x30 * 8 + 7
    .long gate32 - 0x30 * 8
idtr64:
    .word 0x21 * 16 + 15
    .quad gates64 - 0x20 * 16
idtr_real:
    .word 0x3ff
    .long 0
ticks:
    .byte 0

    .org 510
    .word 0xaa55
