/* SPDX-License-Identifier: MIT */
/*
 * The smallest hypervisor that is worth its name, by Linux's KVM (Documentation/virt/kvm/api.rst):
 * one VM, one vCPU, a page of code. The guest begins in real mode, leaves by port I/O, goes on into
 * long mode, computes, touches memory that is not there (an exit for MMIO), and halts. Each exit is
 * checked. Runs it as often as the argument says, and starts from nothing every time.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_SIZE 0x20000
#define CODE 0x1000
#define PAGE_TABLES 0x10000 /* PML4, PDPT, two PDs */
#define CPUID_MAX 100
#define STACK 0x9000
#define PORT 0x10
#define MMIO 0x40000000 /* mapped by the guest, backed by nothing */

extern const char guest_start[], guest_end[];

/*
 * Linked anywhere, run at CODE: all its own addresses are computed from guest_start.
 * 1. real mode: 6 * 7 to the port
 * 2. long mode by the tables that the hypervisor has written; the sum 1 + ... + 1000 to the port
 * 3. a store and a load at MMIO
 * 4. CPUID, RDTSC twice: not going backwards
 * 5. HLT
 */
__asm__(
	".section .rodata\n"
	".code16\n"
	"guest_start:\n"
	"	xorw %ax, %ax\n"
	"	movw %ax, %ds\n"
	"	movw %ax, %ss\n"
	"	movw $0x9000, %sp\n"
	"	movb $6, %al\n"
	"	movb $7, %bl\n"
	"	mulb %bl\n"
	"	outw %ax, $0x10\n"
	"	inw $0x10, %ax\n" /* the hypervisor answers 0x1234 */
	"	cmpw $0x1234, %ax\n"
	"	jne failed16\n"
	"	lgdtl 0x1000 + gdt_register - guest_start\n"
	"	movl %cr4, %eax\n"
	"	orl $0x20, %eax\n" /* PAE */
	"	movl %eax, %cr4\n"
	"	movl $0x10000, %eax\n"
	"	movl %eax, %cr3\n"
	"	movl $0xc0000080, %ecx\n" /* EFER.LME */
	"	rdmsr\n"
	"	orl $0x100, %eax\n"
	"	wrmsr\n"
	"	movl %cr0, %eax\n"
	"	orl $0x80000001, %eax\n"
	"	movl %eax, %cr0\n"
	"	ljmpl $8, $(0x1000 + long_mode - guest_start)\n"
	"failed16:\n"
	"	movw $0xdead, %ax\n"
	"	outw %ax, $0x10\n"
	"	hlt\n"
	".code64\n"
	"long_mode:\n"
	"	movl $16, %eax\n"
	"	movl %eax, %ds\n"
	"	movl %eax, %ss\n"
	"	movl $0x9000, %esp\n"
	"	call add_up\n"
	"	outl %eax, $0x10\n"
	"	movl $0x40000000, %edi\n"
	"	movabsq $0x1122334455667788, %rax\n"
	"	movq %rax, 8(%rdi)\n"
	"	movl 16(%rdi), %eax\n" /* the hypervisor answers 0xcafe */
	"	outl %eax, $0x10\n"
	"	xorl %eax, %eax\n"
	"	cpuid\n"
	"	rdtsc\n"
	"	shlq $32, %rdx\n"
	"	leaq (%rax, %rdx), %rsi\n"
	"	rdtsc\n"
	"	shlq $32, %rdx\n"
	"	addq %rdx, %rax\n"
	"	cmpq %rsi, %rax\n"
	"	setae %al\n"
	"	movzbl %al, %eax\n"
	"	outl %eax, $0x10\n"
	"	hlt\n"
	"add_up:\n"
	"	pushq %rcx\n"
	"	xorl %eax, %eax\n"
	"	movl $1000, %ecx\n"
	"1:	addl %ecx, %eax\n"
	"	decl %ecx\n"
	"	jnz 1b\n"
	"	popq %rcx\n"
	"	ret\n"
	".balign 8\n"
	"gdt:	.quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff\n"
	"gdt_register: .word 23\n"
	"	.long 0x1000 + gdt - guest_start\n"
	"guest_end:\n"
	".code64\n"
	".text\n");

struct vm {
	int kvm, fd, cpu;
	uint8_t *ram;
	struct kvm_run *run;
	size_t run_size;
};

static void fail(const char *what)
{
	printf("tiny_vm: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* KVM lets nobody into long mode whose CPUID does not say so. */
static void give_cpuid(struct vm *vm)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));

	if (!cpuid)
		fail("memory");
	cpuid->nent = CPUID_MAX;
	if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) || ioctl(vm->cpu, KVM_SET_CPUID2, cpuid))
		fail("KVM_SET_CPUID2");
	free(cpuid);
}

static void vm_open(struct vm *vm)
{
	struct kvm_userspace_memory_region ram = { .memory_size = RAM_SIZE };
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	uint64_t *tables;
	int size;

	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0)
		fail("/dev/kvm");
	if (ioctl(vm->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		fail("KVM_GET_API_VERSION");
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		fail("KVM_CREATE_VM");
	vm->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vm->ram == MAP_FAILED)
		fail("mmap");
	memcpy(vm->ram + CODE, guest_start, guest_end - guest_start);
	tables = (uint64_t *)(vm->ram + PAGE_TABLES);
	tables[0] = (PAGE_TABLES + 0x1000) | 3;
	tables[512] = (PAGE_TABLES + 0x2000) | 3;
	tables[512 + (MMIO >> 30)] = (PAGE_TABLES + 0x3000) | 3;
	tables[1024] = 0x83; /* 2 MiB */
	tables[1536] = MMIO | 0x83;
	ram.userspace_addr = (uintptr_t)vm->ram;
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &ram))
		fail("KVM_SET_USER_MEMORY_REGION");
	vm->cpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	if (vm->cpu < 0)
		fail("KVM_CREATE_VCPU");
	size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(*vm->run))
		fail("KVM_GET_VCPU_MMAP_SIZE");
	vm->run_size = size;
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->cpu, 0);
	if (vm->run == MAP_FAILED)
		fail("mmap of the vCPU");
	give_cpuid(vm);
	if (ioctl(vm->cpu, KVM_GET_SREGS, &sregs))
		fail("KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vm->cpu, KVM_SET_SREGS, &sregs) || ioctl(vm->cpu, KVM_SET_REGS, &regs))
		fail("KVM_SET_SREGS");
}

static void vm_close(struct vm *vm)
{
	munmap(vm->run, vm->run_size);
	close(vm->cpu);
	close(vm->fd);
	munmap(vm->ram, RAM_SIZE);
	close(vm->kvm);
}

/* Runs to the next exit and looks whether it is this one; the data of a port or MMIO exit. */
static void *expect(struct vm *vm, uint32_t reason, const char *what)
{
	if (ioctl(vm->cpu, KVM_RUN, 0))
		fail(what);
	if (vm->run->exit_reason != reason) {
		printf("tiny_vm: %s: exit reason %u, not %u\n", what, vm->run->exit_reason, reason);
		exit(1);
	}
	if (reason == KVM_EXIT_IO)
		return (uint8_t *)vm->run + vm->run->io.data_offset;
	return vm->run->mmio.data;
}

static void expect_out(struct vm *vm, uint32_t value, const char *what)
{
	uint32_t got = 0;
	void *data = expect(vm, KVM_EXIT_IO, what);

	memcpy(&got, data, vm->run->io.size);
	if (vm->run->io.direction != KVM_EXIT_IO_OUT || vm->run->io.port != PORT || got != value) {
		printf("tiny_vm: %s: %#x at port %#x, not %#x\n", what, got, vm->run->io.port, value);
		exit(1);
	}
}

static void run_once(void)
{
	static const uint64_t stored = 0x1122334455667788;
	const uint32_t answer = 0xcafe;
	const uint16_t port_answer = 0x1234;
	struct vm vm;
	void *data;

	vm_open(&vm);
	expect_out(&vm, 42, "product in real mode");
	data = expect(&vm, KVM_EXIT_IO, "IN");
	memcpy(data, &port_answer, sizeof(port_answer));
	expect_out(&vm, 500500, "sum in long mode");
	data = expect(&vm, KVM_EXIT_MMIO, "MMIO store");
	if (!vm.run->mmio.is_write || vm.run->mmio.phys_addr != MMIO + 8 || vm.run->mmio.len != 8 ||
	    memcmp(data, &stored, 8))
		fail("MMIO store is another");
	data = expect(&vm, KVM_EXIT_MMIO, "MMIO load");
	if (vm.run->mmio.is_write || vm.run->mmio.phys_addr != MMIO + 16 || vm.run->mmio.len != 4)
		fail("MMIO load is another");
	memcpy(data, &answer, sizeof(answer));
	expect_out(&vm, answer, "what MMIO answered");
	expect_out(&vm, 1, "time goes forward");
	expect(&vm, KVM_EXIT_HLT, "HLT");
	vm_close(&vm);
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 1;

	for (int i = 1; i <= times; i++) {
		run_once();
		if (i % 100 == 0 || i == times) {
			printf("tiny_vm: %d of %d\n", i, times);
			fflush(stdout);
		}
	}
	return 0;
}
