/* SPDX-License-Identifier: MIT */
/* The vCPU's state at a kernel's first instruction, as a boot loader would have left it. */
#include "board/boot.h"

#include <string.h>

#include "cpu/cpu.h"

static void set_segment(struct cpu *cpu, unsigned which, u16 selector, u16 attributes)
{
	cpu->seg[which] = (struct segment){ .sel = selector, .attr = attributes,
		.limit = 0xffffffff };
}

void boot_enter(const struct boot *boot, struct cpu *cpu)
{
	const struct boot_entry *entry = &boot->entry;
	static const u8 data_segments[] = { DS, ES, SS, FS, GS };

	cpu->gdtr = (struct table_register){ .base = entry->gdt_base, .limit = entry->gdt_limit };
	set_segment(cpu, CS, entry->code, (entry->long_mode ? SEG_L : SEG_DB) | SEG_G | SEG_P |
		SEG_S | SEG_CODE | SEG_READABLE | SEG_ACCESSED);
	for (size_t i = 0; i < ARRAY_SIZE(data_segments); i++)
		set_segment(cpu, data_segments[i], entry->data, SEG_G | SEG_DB | SEG_P | SEG_S |
			SEG_WRITABLE | SEG_ACCESSED);
	/* A busy TSS of the mode's width, as after LTR: PVH asks for it, VMRUN-like checks too */
	cpu->seg[TR] = (struct segment){ .attr = SEG_P | 0xb, .limit = 0x67 };

	cpu->cr0 = CR0_PE | CR0_ET;
	if (entry->long_mode) {
		cpu->cr0 |= CR0_PG;
		cpu->cr4 |= CR4_PAE;
		cpu->cr3 = entry->cr3;
		cpu->efer |= EFER_LME | EFER_LMA;
	}
	cpu->cpl = 0;
	cpu_set_rflags(cpu, RFLAGS_RESERVED1);
	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	cpu->gpr[RAX] = entry->rax;
	cpu->gpr[RBX] = entry->rbx;
	cpu->gpr[RSI] = entry->rsi;
	cpu->gpr[RSP] = entry->rsp;
	cpu->rip = entry->rip;
	cpu_mode_update(cpu);
}
