/* SPDX-License-Identifier: MIT */
/*
 * Each consistency check of VMRUN, both ways: what is illegal ends with VMEXIT_INVALID, what stands
 * next to it runs. APM2 15.5.1, 15.20, 15.25.3, 15.25.4, and the instruction's own exceptions.
 */
#include "svm.h"

CODE(nothing, "nop");
CODE(vmmcall_code, "vmmcall; hlt");

static unsigned phys_bits;

static void runs(const char *what)
{
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "%s: runs", what);
	svm_fresh();
}

/* A failed entry says so and leaves the guest's state alone. */
static void invalid(const char *what)
{
	u64 rsp = vmcb->rsp, cr0 = vmcb->cr0;

	check_equal(svm_run_at(nothing), SVM_EXIT_INVALID, "%s: VMEXIT_INVALID", what);
	check(svm_tcg || (vmcb->rip == (u64)nothing && vmcb->rsp == rsp && vmcb->cr0 == cr0),
		"%s: the guest's state stays", what);
	svm_fresh();
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "%s: a sound entry follows", what);
	svm_fresh();
}

static void control_registers(void)
{
	vmcb->efer &= ~EFER_SVME;
	invalid("EFER.SVME clear");
	vmcb->cr0 |= BIT(29);
	invalid("CR0.NW without CD");
	vmcb->cr0 |= BIT(29) | BIT(30);
	runs("CR0.NW with CD");
	vmcb->cr0 |= BIT(30);
	runs("CR0.CD alone");
	for (unsigned bit = 32; bit < 64; bit++) {
		vmcb->cr0 |= BIT(bit);
		invalid("CR0 high bit");
	}
	for (unsigned bit = phys_bits; bit < 64; bit++) {
		if (bit < 52 && guest_tcg_wrong("CR3 bits above the physical width"))
			break;
		vmcb->cr3 |= BIT(bit);
		invalid("CR3 high bit");
	}
	if (!guest_tcg_wrong("CR4 reserved bits"))
		for (unsigned bit = 24; bit < 64; bit++) {
			vmcb->cr4 |= BIT(bit);
			invalid("CR4 reserved bit");
		}
	vmcb->cr4 |= BIT(15);
	invalid("CR4 bit 15");
	vmcb->cr4 |= CR4_TSD | CR4_DE | CR4_PCE;
	runs("CR4 ordinary bits");
	for (unsigned bit = 22; bit < 64; bit++) {
		vmcb->efer |= BIT(bit);
		invalid("EFER reserved bit");
	}
	vmcb->efer |= BIT(9);
	invalid("EFER bit 9");
	vmcb->efer &= ~EFER_SCE;
	runs("EFER.SCE clear");
	if (!guest_tcg_wrong("EFER.LMA follows LME and PG")) {
		vmcb->efer &= ~EFER_LMA;
		runs("EFER.LMA clear");
	}
}

static void mode_combinations(void)
{
	vmcb->cr4 &= ~CR4_PAE;
	invalid("LME and PG without PAE");
	vmcb->cr0 &= ~CR0_PE;
	invalid("LME and PG without PE");
	vmcb->cs_attrib |= 0x400;
	invalid("LME, PG, PAE, CS.L and CS.D");
	/* without paging LME alone makes no long mode, and CS.L and CS.D may meet */
	vmcb->cr0 &= ~(CR0_PG);
	vmcb->cs_attrib |= 0x400;
	runs("CS.L and CS.D without PG");
	vmcb->cr0 &= ~(CR0_PG | CR0_PE);
	vmcb->cs_attrib = 0x49b;
	runs("real mode");
}

static void debug_registers(void)
{
	for (unsigned bit = 32; bit < 64; bit++) {
		vmcb->dr6 |= BIT(bit);
		invalid("DR6 high bit");
		vmcb->dr7 |= BIT(bit);
		invalid("DR7 high bit");
	}
	vmcb->dr6 = 0xffffffff;
	vmcb->dr7 = 0xffff07ff & ~0x2fffull;
	runs("DR6 and DR7 low bits");
}

static void controls(void)
{
	u64 limit = BIT(phys_bits);

	svm_intercept(SVM_EXIT_VMRUN, false);
	invalid("VMRUN intercept clear");
	vmcb->guest_asid = 0;
	invalid("ASID 0");
	vmcb->guest_asid = 2;
	runs("ASID 2");
	if (!guest_tcg_wrong("permission maps beyond memory")) {
		vmcb->msrpm_base_pa = limit;
		invalid("MSRPM at the limit");
		vmcb->msrpm_base_pa = limit - PAGE;
		invalid("MSRPM across the limit");
		vmcb->msrpm_base_pa = ~0ull;
		invalid("MSRPM at the end of the world");
		vmcb->iopm_base_pa = limit;
		invalid("IOPM at the limit");
		vmcb->iopm_base_pa = limit - 2 * PAGE;
		invalid("IOPM across the limit");
		vmcb->iopm_base_pa = ~0ull;
		invalid("IOPM at the end of the world");
	}
	vmcb->msrpm_base_pa = limit - 4 * PAGE;
	vmcb->iopm_base_pa = limit - 4 * PAGE;
	runs("maps below the limit");
	vmcb->msrpm_base_pa |= 0xfff;
	vmcb->iopm_base_pa |= 0xfff;
	runs("low bits of maps are ignored");
}

static void nested_paging(void)
{
	if (!svm_has(SVM_NPT)) {
		guest_skip("nested paging");
		return;
	}
	svm_nested_paging();
	runs("nested paging");
	if (guest_tcg_wrong("checks of nCR3 and G_PAT"))
		return;
	for (unsigned bit = phys_bits; bit < 64; bit++) {
		svm_nested_paging();
		vmcb->n_cr3 |= BIT(bit);
		invalid("nCR3 high bit");
	}
	for (unsigned entry = 0; entry < 8; entry++)
		for (unsigned type = 0; type < 256; type = type < 8 ? type + 1 : type * 2) {
			bool good = type == 0 || type == 1 || (type >= 4 && type <= 7);

			svm_nested_paging();
			vmcb->g_pat = (vmcb->g_pat & ~(0xffull << 8 * entry)) | (u64)type << 8 * entry;
			if (good)
				runs("G_PAT type");
			else
				invalid("G_PAT reserved type");
		}
	/* without nested paging neither is looked at */
	vmcb->n_cr3 = ~0ull;
	vmcb->g_pat = ~0ull;
	runs("nCR3 and G_PAT without nested paging");
}

static unsigned taken;

static void on_event(struct frame *frame)
{
	taken++;
}

static void event_injection(void)
{
	const u64 exceptions = BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) |
			       MASK(14, 10) | MASK(19, 16);
	const u64 with_error = BIT(8) | MASK(14, 10) | BIT(17);

	if (guest_tcg_wrong("checks of EVENTINJ"))
		return;
	for (unsigned type = 0; type < 8; type++)
		if (type == 1 || type > 4) {
			vmcb->event_inj = EVENT_INFO_VALID | type << 8 | 0x40;
			invalid("EVENTINJ reserved type");
			vmcb->event_inj = type << 8 | 0x40;
			runs("EVENTINJ reserved type, not valid");
		}
	for (unsigned vector = 0; vector < 256; vector++) {
		u64 inject = EVENT_INFO_VALID | 3 << 8 | vector;

		if (vector < 32 && (exceptions & BIT(vector))) {
			if (with_error & BIT(vector))
				inject |= EVENT_INFO_EV;
			guest_set_handler(vector, on_event);
			taken = 0;
			vmcb->event_inj = inject;
			vmcb->nrip = (u64)nothing_end;
			runs("EVENTINJ exception");
			check_equal(taken, 1, "exception %u was injected", vector);
			guest_set_handler(vector, NULL);
		} else if (vector == 2 || vector > 31) {
			vmcb->event_inj = inject;
			invalid("EVENTINJ exception with a vector of none");
		}
	}
}

/* What VMRUN itself raises, APM3. */
static void exceptions(void)
{
	u64 efer = rdmsr(MSR_EFER);

	check_equal(guest_try("vmrun %%rax", : : "a"((u64)vmcb + 8)), VEC_GP, "VMRUN misaligned");
	check_equal(guest_try("vmload %%rax", : : "a"((u64)vmcb + 8)), VEC_GP, "VMLOAD misaligned");
	check_equal(guest_try("vmsave %%rax", : : "a"((u64)vmcb + 8)), VEC_GP, "VMSAVE misaligned");
	if (!guest_tcg_wrong("VMRUN beyond physical memory")) {
		u64 high = BIT(phys_bits);

		check_equal(guest_try("vmrun %%rax", : : "a"(high)), VEC_GP, "VMRUN above the limit");
		check_equal(guest_try("vmload %%rax", : : "a"(high)), VEC_GP, "VMLOAD above the limit");
		check_equal(guest_try("vmsave %%rax", : : "a"(high)), VEC_GP, "VMSAVE above the limit");
		check_equal(guest_try("vmrun %%rax", : : "a"(0xfee00000ull)), VEC_GP,
			"VMRUN of a device");
	}
	wrmsr(MSR_EFER, efer & ~EFER_SVME);
	check_equal(guest_try("vmrun %%rax", : : "a"(vmcb)), VEC_UD, "VMRUN without SVME");
	check_equal(guest_try("vmload %%rax", : : "a"(vmcb)), VEC_UD, "VMLOAD without SVME");
	check_equal(guest_try("vmsave %%rax", : : "a"(vmcb)), VEC_UD, "VMSAVE without SVME");
	check_equal(guest_try("clgi"), VEC_UD, "CLGI without SVME");
	check_equal(guest_try("stgi"), VEC_UD, "STGI without SVME");
	check_equal(guest_try("invlpga %%rax, %%ecx", : : "a"(0), "c"(1)), VEC_UD,
		"INVLPGA without SVME");
	wrmsr(MSR_EFER, efer);
	svm_intercept(SVM_EXIT_VMMCALL, false);
	svm_intercept(SVM_EXIT_HLT, true);
	check_equal(svm_run_fixup(vmmcall_code, vmmcall_code + 3), SVM_EXIT_HLT, "VMMCALL as #UD");
	check_equal(guest_last.vector, VEC_UD, "VMMCALL that nobody intercepts");
	svm_fresh();
	if (!cpu_has(0x80000001, 2, 12))
		check_equal(guest_try("skinit %%eax", : : "a"(0)), VEC_UD, "SKINIT that is not offered");
}

static u64 at_cpl3(u64 arg)
{
	u64 wrong = 0;

	wrong += guest_try("vmrun %%rax", : : "a"(vmcb)) != VEC_GP;
	wrong += guest_try("vmload %%rax", : : "a"(vmcb)) != VEC_GP;
	wrong += guest_try("vmsave %%rax", : : "a"(vmcb)) != VEC_GP;
	wrong += guest_try("stgi") != VEC_GP;
	wrong += guest_try("clgi") != VEC_GP;
	wrong += guest_try("invlpga %%rax, %%ecx", : : "a"(0), "c"(1)) != VEC_GP;
	return wrong;
}

void guest_main(void)
{
	u32 id[4];

	if (!svm_setup())
		return;
	cpuid(0x80000008, 0, id);
	phys_bits = id[0] & 0xff;
	runs("a plain guest");
	control_registers();
	mode_combinations();
	debug_registers();
	controls();
	nested_paging();
	event_injection();
	exceptions();
	check_equal(guest_user(at_cpl3, 0), 0, "SVM instructions at CPL 3");
}
