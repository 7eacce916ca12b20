/* SPDX-License-Identifier: MIT */
/* Task switches of a 32-bit guest, intercepted and not, by each way there is: APM2 15.14.1, 12.3. */
#include "svm.h"

#define SEL_FIRST 0x1c0  /* the task that the guest starts in */
#define SEL_SECOND 0x1c8
#define VECTOR 0x50

#define CODE32(name, text) CODE(name, ".code32; " text "; .code64")
CODE32(jump_task, "ljmp $0x1c8, $0");
CODE32(call_task, "lcall $0x1c8, $0");
CODE32(int_task, "int $0x50");
CODE32(fault_task, "movl $0xfff8, %ebp; mov %ebp, %fs");
CODE32(return_task, "iret");
CODE32(second_task, "nop");

struct tss32 {
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi,
		edi, es, cs, ss, ds, fs, gs, ldt, trap_iomap;
};

static struct tss32 *first, *second;
static union vmcb *host_area, *guest_area;
static u64 *idt;

static u64 tss_descriptor(const void *tss, bool busy)
{
	u64 base = (u64)tss;

	return 103 | (base & 0xffffff) << 16 | (busy ? 0x8bull : 0x89ull) << 40 | (base >> 24) << 56;
}

static void prepare(bool intercept)
{
	svm_fresh();
	*first = (struct tss32){ .trap_iomap = 104u << 16, .link = SEL_SECOND };
	*second = (struct tss32){ .eip = (u32)(u64)second_task, .eflags = 2,
		.esp = (u32)(u64)svm_stack_top - 0x1000, .cs = SEL_CODE32, .ss = SEL_DATA32,
		.ds = SEL_DATA32, .es = SEL_DATA32, .eax = 0x1234, .trap_iomap = 104u << 16 };
	guest_gdt[SEL_FIRST / 8] = tss_descriptor(first, true);
	guest_gdt[SEL_SECOND / 8] = tss_descriptor(second, false);
	idt[VECTOR] = idt[VEC_GP] = (u64)SEL_SECOND << 16 | 0x85ull << 40;
	__asm__ volatile("vmsave %%rax" : : "a"(guest_area) : "memory");
	guest_area->tr_selector = SEL_FIRST;
	guest_area->tr_base = (u64)first;
	guest_area->tr_limit = 103;
	guest_area->tr_attrib = 0x8b;
	guest_area->ldtr_attrib = 0;
	vmcb->efer &= ~(EFER_LME | EFER_LMA);
	vmcb->cr0 = CR0_PE | CR0_NE;
	vmcb->cr4 = 0;
	vmcb->cr3 = 0;
	vmcb->cs_selector = SEL_CODE32;
	vmcb->cs_attrib = 0xc9b;
	vmcb->ss_selector = vmcb->ds_selector = vmcb->es_selector = SEL_DATA32;
	vmcb->idtr_base = (u64)idt;
	vmcb->idtr_limit = 0x7ff;
	svm_intercept(SVM_EXIT_TASK_SWITCH, intercept);
}

static u64 run(const void *code)
{
	u64 exit_code;

	__asm__ volatile("vmsave %%rax" : : "a"(host_area) : "memory");
	__asm__ volatile("vmload %%rax" : : "a"(guest_area) : "memory");
	exit_code = svm_run_at(code);
	__asm__ volatile("vmsave %%rax" : : "a"(guest_area) : "memory");
	__asm__ volatile("vmload %%rax" : : "a"(host_area) : "memory");
	return exit_code;
}

struct row {
	const char *name;
	const u8 *code, *rip;
	u64 info2, int_info;
	bool nests; /* the new task's link names the old one */
};

static const struct row rows[] = {
	{ "JMP", jump_task, jump_task, TASK_INFO_JMP, 0, false },
	{ "CALL", call_task, call_task, 0, 0, true },
	{ "INT n", int_task, int_task, 0, EVENT_INFO_VALID | 4 << 8 | VECTOR, true },
	{ "#GP", fault_task, fault_task + 5, TASK_INFO_HAS_ERROR | 0xfff8,
		EVENT_INFO_VALID | EVENT_INFO_EV | 3 << 8 | VEC_GP | 0xfff8ull << 32, true },
	{ "IRET", return_task, return_task, TASK_INFO_IRET, 0, false },
};

static void check_row(const struct row *row)
{
	bool iret = row->code == return_task;

	for (unsigned intercept = 0; intercept < 2; intercept++) {
		prepare(intercept);
		if (iret) {
			vmcb->rflags |= FLAG_NT;
			guest_gdt[SEL_SECOND / 8] = tss_descriptor(second, true);
		}
		if (intercept) {
			check_equal(run(row->code), SVM_EXIT_TASK_SWITCH, "%s: exit code", row->name);
			check_equal(vmcb->exit_info1, SEL_SECOND, "%s: EXITINFO1", row->name);
			check_equal(vmcb->exit_info2 & ~TASK_INFO_RF, row->info2, "%s: EXITINFO2", row->name);
			check_equal(vmcb->exit_int_info, row->int_info, "%s: EXITINTINFO", row->name);
			check_equal(vmcb->rip, row->rip, "%s: RIP", row->name);
			check_equal(guest_area->tr_selector, SEL_FIRST, "%s: still the old task", row->name);
			check_equal(second->link, 0, "%s: nothing was written", row->name);
			continue;
		}
		check_equal(run(row->code), SVM_EXIT_VMMCALL, "%s: plain", row->name);
		check_equal(vmcb->rip, second_task_end, "%s: the new task runs", row->name);
		check_equal(vmcb->rax, 0x1234, "%s: with its registers", row->name);
		check_equal(guest_area->tr_selector, SEL_SECOND, "%s: TR", row->name);
		check_equal(second->link, row->nests ? SEL_FIRST : 0, "%s: link", row->name);
		check_equal(!!(vmcb->rflags & FLAG_NT), row->nests, "%s: NT", row->name);
	}
}

void guest_main(void)
{
	if (!svm_setup())
		return;
	first = guest_pages(1);
	second = guest_pages(1);
	idt = guest_pages(1);
	host_area = guest_pages(1);
	guest_area = guest_pages(1);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(&rows[i]);
}
