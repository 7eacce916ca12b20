/* SPDX-License-Identifier: MIT */
/*
 * Decoding by Zydis, and the decision how each instruction is translated. The default is that the
 * host runs it; what C must run, or what this CPU does not offer, is listed here.
 */
#include <string.h>
#include <Zydis/Zydis.h>

#include "translate/decode.h"

/* Instructions that C executes and nothing more is to be said about them. */
static int op_of_mnemonic(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_CLTS: return OP_CLTS;
	case ZYDIS_MNEMONIC_LMSW: return OP_LMSW;
	case ZYDIS_MNEMONIC_SMSW: return OP_SMSW;
	case ZYDIS_MNEMONIC_LDS:
	case ZYDIS_MNEMONIC_LES:
	case ZYDIS_MNEMONIC_LSS:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS: return OP_LOAD_FAR;
	case ZYDIS_MNEMONIC_SWAPGS: return OP_SWAPGS;
	case ZYDIS_MNEMONIC_RDFSBASE: return OP_RDFSBASE;
	case ZYDIS_MNEMONIC_RDGSBASE: return OP_RDGSBASE;
	case ZYDIS_MNEMONIC_WRFSBASE: return OP_WRFSBASE;
	case ZYDIS_MNEMONIC_WRGSBASE: return OP_WRGSBASE;
	case ZYDIS_MNEMONIC_LGDT: return OP_LGDT;
	case ZYDIS_MNEMONIC_LIDT: return OP_LIDT;
	case ZYDIS_MNEMONIC_SGDT: return OP_SGDT;
	case ZYDIS_MNEMONIC_SIDT: return OP_SIDT;
	case ZYDIS_MNEMONIC_LLDT: return OP_LLDT;
	case ZYDIS_MNEMONIC_LTR: return OP_LTR;
	case ZYDIS_MNEMONIC_SLDT: return OP_SLDT;
	case ZYDIS_MNEMONIC_STR: return OP_STR;
	case ZYDIS_MNEMONIC_LAR: return OP_LAR;
	case ZYDIS_MNEMONIC_LSL: return OP_LSL;
	case ZYDIS_MNEMONIC_VERR: return OP_VERR;
	case ZYDIS_MNEMONIC_VERW: return OP_VERW;
	case ZYDIS_MNEMONIC_ARPL: return OP_ARPL;
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ: return OP_PUSHF;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ: return OP_POPF;
	case ZYDIS_MNEMONIC_CLI: return OP_CLI;
	case ZYDIS_MNEMONIC_STI: return OP_STI;
	case ZYDIS_MNEMONIC_CLD: return OP_CLD;
	case ZYDIS_MNEMONIC_STD: return OP_STD;
	case ZYDIS_MNEMONIC_CLAC: return OP_CLAC;
	case ZYDIS_MNEMONIC_STAC: return OP_STAC;
	case ZYDIS_MNEMONIC_CPUID: return OP_CPUID;
	case ZYDIS_MNEMONIC_RDTSC: return OP_RDTSC;
	case ZYDIS_MNEMONIC_RDTSCP: return OP_RDTSCP;
	case ZYDIS_MNEMONIC_RDPID: return OP_RDPID;
	case ZYDIS_MNEMONIC_RDPMC: return OP_RDPMC;
	case ZYDIS_MNEMONIC_RDPRU: return OP_RDPRU;
	case ZYDIS_MNEMONIC_RDMSR: return OP_RDMSR;
	case ZYDIS_MNEMONIC_WRMSR: return OP_WRMSR;
	case ZYDIS_MNEMONIC_XGETBV: return OP_XGETBV;
	case ZYDIS_MNEMONIC_XSETBV: return OP_XSETBV;
	case ZYDIS_MNEMONIC_HLT: return OP_HLT;
	case ZYDIS_MNEMONIC_INVD: return OP_INVD;
	case ZYDIS_MNEMONIC_WBINVD: return OP_WBINVD;
	case ZYDIS_MNEMONIC_INVLPG: return OP_INVLPG;
	case ZYDIS_MNEMONIC_INVPCID: return OP_INVPCID;
	case ZYDIS_MNEMONIC_MONITOR: return OP_MONITOR;
	case ZYDIS_MNEMONIC_MWAIT: return OP_MWAIT;
	case ZYDIS_MNEMONIC_RSM: return OP_RSM;
	case ZYDIS_MNEMONIC_IN: return OP_IN;
	case ZYDIS_MNEMONIC_OUT: return OP_OUT;
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_INSD: return OP_INS;
	case ZYDIS_MNEMONIC_OUTSB:
	case ZYDIS_MNEMONIC_OUTSW:
	case ZYDIS_MNEMONIC_OUTSD: return OP_OUTS;
	case ZYDIS_MNEMONIC_SYSCALL: return OP_SYSCALL;
	case ZYDIS_MNEMONIC_SYSRET: return OP_SYSRET;
	case ZYDIS_MNEMONIC_SYSENTER: return OP_SYSENTER;
	case ZYDIS_MNEMONIC_SYSEXIT: return OP_SYSEXIT;
	case ZYDIS_MNEMONIC_INT: return OP_INT;
	case ZYDIS_MNEMONIC_INT3: return OP_INT3;
	case ZYDIS_MNEMONIC_INTO: return OP_INTO;
	case ZYDIS_MNEMONIC_INT1: return OP_INT1;
	case ZYDIS_MNEMONIC_BOUND: return OP_BOUND;
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ: return OP_IRET;
	case ZYDIS_MNEMONIC_ENTER: return OP_ENTER;
	case ZYDIS_MNEMONIC_PUSHA:
	case ZYDIS_MNEMONIC_PUSHAD: return OP_PUSHA;
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD: return OP_POPA;
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSQ: return OP_MOVS;
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ: return OP_STOS;
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD:
	case ZYDIS_MNEMONIC_LODSQ: return OP_LODS;
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSQ: return OP_CMPS;
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ: return OP_SCAS;
	case ZYDIS_MNEMONIC_DAA: return OP_DAA;
	case ZYDIS_MNEMONIC_DAS: return OP_DAS;
	case ZYDIS_MNEMONIC_AAA: return OP_AAA;
	case ZYDIS_MNEMONIC_AAS: return OP_AAS;
	case ZYDIS_MNEMONIC_AAM: return OP_AAM;
	case ZYDIS_MNEMONIC_AAD: return OP_AAD;
	case ZYDIS_MNEMONIC_SALC: return OP_SALC;
	case ZYDIS_MNEMONIC_XLAT: return OP_XLAT;
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64: return OP_FXSAVE;
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64: return OP_FXRSTOR;
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64: return OP_XSAVE;
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64: return OP_XSAVEOPT;
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64: return OP_XSAVEC;
	case ZYDIS_MNEMONIC_XSAVES:
	case ZYDIS_MNEMONIC_XSAVES64: return OP_XSAVES;
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64: return OP_XRSTOR;
	case ZYDIS_MNEMONIC_XRSTORS:
	case ZYDIS_MNEMONIC_XRSTORS64: return OP_XRSTORS;
	case ZYDIS_MNEMONIC_FNSAVE: return OP_FNSAVE;
	case ZYDIS_MNEMONIC_FRSTOR: return OP_FRSTOR;
	case ZYDIS_MNEMONIC_FNSTENV: return OP_FNSTENV;
	case ZYDIS_MNEMONIC_FLDENV: return OP_FLDENV;
	case ZYDIS_MNEMONIC_VMRUN: return OP_VMRUN;
	case ZYDIS_MNEMONIC_VMLOAD: return OP_VMLOAD;
	case ZYDIS_MNEMONIC_VMSAVE: return OP_VMSAVE;
	case ZYDIS_MNEMONIC_VMMCALL: return OP_VMMCALL;
	case ZYDIS_MNEMONIC_STGI: return OP_STGI;
	case ZYDIS_MNEMONIC_CLGI: return OP_CLGI;
	case ZYDIS_MNEMONIC_SKINIT: return OP_SKINIT;
	case ZYDIS_MNEMONIC_INVLPGA: return OP_INVLPGA;
	case ZYDIS_MNEMONIC_VMXON: return OP_VMXON;
	case ZYDIS_MNEMONIC_VMXOFF: return OP_VMXOFF;
	case ZYDIS_MNEMONIC_VMCLEAR: return OP_VMCLEAR;
	case ZYDIS_MNEMONIC_VMPTRLD: return OP_VMPTRLD;
	case ZYDIS_MNEMONIC_VMPTRST: return OP_VMPTRST;
	case ZYDIS_MNEMONIC_VMREAD: return OP_VMREAD;
	case ZYDIS_MNEMONIC_VMWRITE: return OP_VMWRITE;
	case ZYDIS_MNEMONIC_VMLAUNCH: return OP_VMLAUNCH;
	case ZYDIS_MNEMONIC_VMRESUME: return OP_VMRESUME;
	case ZYDIS_MNEMONIC_VMCALL: return OP_VMCALL;
	case ZYDIS_MNEMONIC_VMFUNC: return OP_VMFUNC;
	case ZYDIS_MNEMONIC_INVEPT: return OP_INVEPT;
	case ZYDIS_MNEMONIC_INVVPID: return OP_INVVPID;
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2: return OP_UD;
	default: return -1;
	}
}

/* After these the mode, the mapping or the pending events may be others: the block ends. */
static bool op_ends_block(unsigned op)
{
	switch (op) {
	case OP_MOV_FROM_CR: case OP_MOV_FROM_DR: case OP_SMSW: case OP_MOV_FROM_SEG: case OP_PUSH_SEG:
	case OP_RDFSBASE: case OP_RDGSBASE: case OP_WRFSBASE: case OP_WRGSBASE: case OP_SWAPGS:
	case OP_SGDT: case OP_SIDT: case OP_SLDT: case OP_STR: case OP_LAR: case OP_LSL: case OP_VERR:
	case OP_VERW: case OP_ARPL: case OP_PUSHF: case OP_CLI: case OP_STI: case OP_CLD: case OP_STD: case OP_CLAC:
	case OP_STAC: case OP_CPUID: case OP_RDTSC: case OP_RDTSCP: case OP_RDPID: case OP_RDPRU:
	case OP_RDMSR: case OP_XGETBV: case OP_IN: case OP_BOUND: case OP_ENTER: case OP_PUSHA:
	case OP_POPA: case OP_MOVS: case OP_STOS: case OP_LODS: case OP_CMPS: case OP_SCAS: case OP_DAA:
	case OP_DAS: case OP_AAA: case OP_AAS: case OP_AAM: case OP_AAD: case OP_SALC: case OP_XLAT:
	case OP_FXSAVE: case OP_FXRSTOR: case OP_XSAVE: case OP_XSAVEOPT: case OP_XSAVEC:
	case OP_XSAVES: case OP_XRSTOR: case OP_XRSTORS: case OP_FNSAVE: case OP_FRSTOR:
	case OP_GATHER: case OP_FNSTENV: case OP_FLDENV: case OP_VMREAD: case OP_VMWRITE: case OP_LEAVE:
		return false;
	default:
		return true;
	}
}

enum fpu_need { NEED_NONE, NEED_X87, NEED_SSE, NEED_AVX, NEED_AVX512, NEED_ABSENT };

/* Which state an instruction set works on, and which sets this CPU never has. */
static enum fpu_need need_of_isa(ZydisISASet isa)
{
	if (isa >= ZYDIS_ISA_SET_AVX512BW_128 && isa <= ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_512)
		return NEED_AVX512;
	switch (isa) {
	case ZYDIS_ISA_SET_X87:
	case ZYDIS_ISA_SET_FCMOV:
	case ZYDIS_ISA_SET_SSE3X87:
	case ZYDIS_ISA_SET_PENTIUMMMX:
		return NEED_X87;
	case ZYDIS_ISA_SET_SSE:
	case ZYDIS_ISA_SET_SSE2:
	case ZYDIS_ISA_SET_SSE2MMX:
	case ZYDIS_ISA_SET_SSE3:
	case ZYDIS_ISA_SET_SSE4:
	case ZYDIS_ISA_SET_SSE42:
	case ZYDIS_ISA_SET_SSEMXCSR:
	case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSSE3MMX:
	case ZYDIS_ISA_SET_AES:
	case ZYDIS_ISA_SET_PCLMULQDQ:
	case ZYDIS_ISA_SET_SHA:
	case ZYDIS_ISA_SET_GFNI:
	case ZYDIS_ISA_SET_SSE4A:
		return NEED_SSE;
	case ZYDIS_ISA_SET_AVX:
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVX2GATHER:
	case ZYDIS_ISA_SET_AVXAES:
	case ZYDIS_ISA_SET_AVX_GFNI:
	case ZYDIS_ISA_SET_AVX_VNNI:
	case ZYDIS_ISA_SET_F16C:
	case ZYDIS_ISA_SET_FMA:
	case ZYDIS_ISA_SET_VAES:
	case ZYDIS_ISA_SET_VPCLMULQDQ:
		return NEED_AVX;
	case ZYDIS_ISA_SET_ADOX_ADCX:
	case ZYDIS_ISA_SET_BMI1:
	case ZYDIS_ISA_SET_BMI2:
	case ZYDIS_ISA_SET_AMD:
	case ZYDIS_ISA_SET_CLFLUSHOPT:
	case ZYDIS_ISA_SET_CLFSH:
	case ZYDIS_ISA_SET_CLWB:
	case ZYDIS_ISA_SET_CMOV:
	case ZYDIS_ISA_SET_CMPXCHG16B:
	case ZYDIS_ISA_SET_CET: /* hint NOPs without CR4.CET; the others are listed by mnemonic */
	case ZYDIS_ISA_SET_CLDEMOTE:
	case ZYDIS_ISA_SET_FAT_NOP:
	case ZYDIS_ISA_SET_FXSAVE:
	case ZYDIS_ISA_SET_FXSAVE64:
	case ZYDIS_ISA_SET_I186:
	case ZYDIS_ISA_SET_I286PROTECTED:
	case ZYDIS_ISA_SET_I286REAL:
	case ZYDIS_ISA_SET_I386:
	case ZYDIS_ISA_SET_I486:
	case ZYDIS_ISA_SET_I486REAL:
	case ZYDIS_ISA_SET_I86:
	case ZYDIS_ISA_SET_INVPCID:
	case ZYDIS_ISA_SET_LAHF:
	case ZYDIS_ISA_SET_LONGMODE:
	case ZYDIS_ISA_SET_LZCNT:
	case ZYDIS_ISA_SET_MONITOR:
	case ZYDIS_ISA_SET_MOVBE:
	case ZYDIS_ISA_SET_PAUSE:
	case ZYDIS_ISA_SET_PENTIUMREAL:
	case ZYDIS_ISA_SET_POPCNT:
	case ZYDIS_ISA_SET_PPRO:
	case ZYDIS_ISA_SET_PREFETCHWT1:
	case ZYDIS_ISA_SET_PREFETCH_NOP:
	case ZYDIS_ISA_SET_RDPID:
	case ZYDIS_ISA_SET_RDPMC:
	case ZYDIS_ISA_SET_RDPRU:
	case ZYDIS_ISA_SET_RDRAND:
	case ZYDIS_ISA_SET_RDSEED:
	case ZYDIS_ISA_SET_RDTSCP:
	case ZYDIS_ISA_SET_RDWRFSGS:
	case ZYDIS_ISA_SET_SMAP:
	case ZYDIS_ISA_SET_SSE_PREFETCH:
	case ZYDIS_ISA_SET_SVM:
	case ZYDIS_ISA_SET_VMFUNC:
	case ZYDIS_ISA_SET_VTX:
	case ZYDIS_ISA_SET_XSAVE:
	case ZYDIS_ISA_SET_XSAVEC:
	case ZYDIS_ISA_SET_XSAVEOPT:
	case ZYDIS_ISA_SET_XSAVES:
		return NEED_NONE;
	default:
		return NEED_ABSENT;
	}
}

/* CPUID's word on the sets that not every host has. */
static bool cpu_offers(const struct cpu *cpu, ZydisISASet isa)
{
	switch (isa) {
	case ZYDIS_ISA_SET_ADOX_ADCX: return cpu_has(cpu, 7, 1, 19);
	case ZYDIS_ISA_SET_BMI1: return cpu_has(cpu, 7, 1, 3);
	case ZYDIS_ISA_SET_BMI2: return cpu_has(cpu, 7, 1, 8);
	case ZYDIS_ISA_SET_SHA: return cpu_has(cpu, 7, 1, 29);
	case ZYDIS_ISA_SET_SSE4A: return cpu_has(cpu, 0x80000001, 2, 6);
	case ZYDIS_ISA_SET_AES: return cpu_has(cpu, 1, 2, 25);
	case ZYDIS_ISA_SET_PCLMULQDQ: return cpu_has(cpu, 1, 2, 1);
	case ZYDIS_ISA_SET_MOVBE: return cpu_has(cpu, 1, 2, 22);
	case ZYDIS_ISA_SET_RDRAND: return cpu_has(cpu, 1, 2, 30);
	case ZYDIS_ISA_SET_RDSEED: return cpu_has(cpu, 7, 1, 18);
	case ZYDIS_ISA_SET_CLFLUSHOPT: return cpu_has(cpu, 7, 1, 23);
	case ZYDIS_ISA_SET_CLWB: return cpu_has(cpu, 7, 1, 24);
	case ZYDIS_ISA_SET_INVPCID: return cpu_has(cpu, 7, 1, 10);
	case ZYDIS_ISA_SET_RDPID: return cpu_has(cpu, 7, 2, 22);
	case ZYDIS_ISA_SET_RDPRU: return cpu_has(cpu, 0x80000008, 1, 4);
	case ZYDIS_ISA_SET_RDTSCP: return cpu_has(cpu, 0x80000001, 3, 27);
	case ZYDIS_ISA_SET_RDWRFSGS: return cpu_has(cpu, 7, 1, 0);
	case ZYDIS_ISA_SET_SMAP: return cpu_has(cpu, 7, 1, 20);
	case ZYDIS_ISA_SET_GFNI: return cpu_has(cpu, 7, 2, 8);
	case ZYDIS_ISA_SET_AVX: return cpu_has(cpu, 1, 2, 28);
	case ZYDIS_ISA_SET_F16C: return cpu_has(cpu, 1, 2, 29);
	case ZYDIS_ISA_SET_FMA: return cpu_has(cpu, 1, 2, 12);
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVX2GATHER: return cpu_has(cpu, 7, 1, 5);
	case ZYDIS_ISA_SET_VAES: return cpu_has(cpu, 7, 2, 9);
	case ZYDIS_ISA_SET_VPCLMULQDQ: return cpu_has(cpu, 7, 2, 10);
	case ZYDIS_ISA_SET_AVXAES: return cpu_has(cpu, 1, 2, 25);
	case ZYDIS_ISA_SET_AVX_GFNI: return cpu_has(cpu, 7, 2, 8);
	case ZYDIS_ISA_SET_AVX_VNNI: return false; /* leaf 7.1, not offered */
	case ZYDIS_ISA_SET_AVX512F_128:
	case ZYDIS_ISA_SET_AVX512F_256: return cpu_has(cpu, 7, 1, 31); /* AVX512VL */
	case ZYDIS_ISA_SET_AVX512ER_512:
	case ZYDIS_ISA_SET_AVX512ER_SCALAR:
	case ZYDIS_ISA_SET_AVX512PF_512:
	case ZYDIS_ISA_SET_AVX512_4FMAPS_512:
	case ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR:
	case ZYDIS_ISA_SET_AVX512_4VNNIW_512: return false; /* of CPUs that are no more */
	case ZYDIS_ISA_SET_MONITOR: return cpu_has(cpu, 1, 2, 3);
	case ZYDIS_ISA_SET_XSAVE: return cpu_has(cpu, 1, 2, 26);
	case ZYDIS_ISA_SET_SVM: return cpu_has(cpu, 0x80000001, 2, 2);
	case ZYDIS_ISA_SET_VTX:
	case ZYDIS_ISA_SET_VMFUNC: return cpu_has(cpu, 1, 2, 5);
	default: return true;
	}
}

static int gpr_number(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
		if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
			return reg - ZYDIS_REGISTER_AH;
		return reg < ZYDIS_REGISTER_AH ? reg - ZYDIS_REGISTER_AL
					       : reg - ZYDIS_REGISTER_SPL + 4;
	case ZYDIS_REGCLASS_GPR16: return reg - ZYDIS_REGISTER_AX;
	case ZYDIS_REGCLASS_GPR32: return reg - ZYDIS_REGISTER_EAX;
	case ZYDIS_REGCLASS_GPR64: return reg - ZYDIS_REGISTER_RAX;
	default: return -1;
	}
}

static bool is_high_byte(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

static unsigned segment_number(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS ? reg - ZYDIS_REGISTER_ES : DS;
}

/* Finds where prefixes end; the last REX counts only directly before the opcode. */
static void scan_prefixes(struct guest_insn *g, u32 mode)
{
	const u8 *bytes = g->insn.bytes;
	unsigned at = 0;

	g->rex = 0;
	for (; at < 15; at++) {
		u8 byte = bytes[at];

		if (byte == 0x66 || byte == 0x67 || byte == 0xf0 || byte == 0xf2 || byte == 0xf3 ||
			byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x26 ||
			byte == 0x64 || byte == 0x65)
			g->rex = 0;
		else if (mode & MODE_CODE64 && (byte & 0xf0) == 0x40)
			g->rex = byte;
		else
			break;
	}
	g->opcode_at = at;
}

static void read_flags(struct guest_insn *g, const ZydisDecodedInstruction *z)
{
	const ZydisAccessedFlags *flags = z->cpu_flags;
	ZydisInstructionCategory category = z->meta.category;
	u32 undefined;

	if (!flags)
		return;
	g->flags_read = flags->tested & RFLAGS_ARITH;
	g->flags_written = (flags->modified | flags->set_0 | flags->set_1) & RFLAGS_ARITH;
	undefined = flags->undefined & RFLAGS_ARITH;
	/*
	 * A flag that the manual leaves undefined may keep its old value on some host, so it counts
	 * as not written, save for logic and shifts, where no host does that.
	 */
	if (category == ZYDIS_CATEGORY_LOGICAL)
		g->flags_written |= undefined;
	else
		g->flags_written &= ~undefined;
	if (category == ZYDIS_CATEGORY_SHIFT || category == ZYDIS_CATEGORY_ROTATE ||
		z->mnemonic == ZYDIS_MNEMONIC_SHLD || z->mnemonic == ZYDIS_MNEMONIC_SHRD) {
		/* A count of zero changes nothing. */
		bool by_immediate = z->raw.imm[0].size != 0;
		bool by_one = z->opcode == 0xd0 || z->opcode == 0xd1;
		u64 mask = z->operand_width == 64 ? 63 : 31;

		if (by_one || (by_immediate && (z->raw.imm[0].value.u & mask)))
			g->flags_written |= category == ZYDIS_CATEGORY_SHIFT ? undefined : 0;
		else
			g->flags_written = 0;
		g->flags_read |= RFLAGS_ARITH & ~g->flags_written;
	}
	if (g->insn.rep && (z->meta.category == ZYDIS_CATEGORY_STRINGOP))
		g->flags_written = 0;
	/* What is neither surely written nor untouched depends on what was there before. */
	g->flags_read |= undefined & ~g->flags_written;
}

static void read_operands(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *ops)
{
	struct insn *insn = &g->insn;

	for (unsigned i = 0; i < z->operand_count; i++) {
		const ZydisDecodedOperand *op = &ops[i];

		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			int number = gpr_number(op->reg.value);

			if (op->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
				bool high = is_high_byte(op->reg.value);

				g->high_byte |= high;
				if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG && number >= 0) {
					g->slot[SLOT_REG] = number;
					insn->reg_high = high;
				} else if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM && number >= 0) {
					g->slot[SLOT_RM] = number;
					insn->rm_high = high;
				} else if (op->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD && number >= 0) {
					g->slot[SLOT_VVVV] = number;
				} else if (op->encoding == ZYDIS_OPERAND_ENCODING_OPCODE && number >= 0) {
					g->slot[SLOT_OPCODE] = number;
				}
			}
			if (number >= 0) {
				g->gpr_used |= 1u << number;
				if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
					g->gpr_written |= 1u << number;
			}
		} else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			int base = gpr_number(op->mem.base), index = gpr_number(op->mem.index);

			if (base >= 0)
				g->gpr_used |= 1u << base;
			if (index >= 0)
				g->gpr_used |= 1u << index;
			if (op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
				continue;
			insn->is_mem = true;
			insn->seg = segment_number(op->mem.segment);
			insn->base = base >= 0 ? base : INSN_NO_REG;
			insn->index = index >= 0 ? index : INSN_NO_REG;
			insn->scale = op->mem.scale ? op->mem.scale : 1;
			insn->disp = op->mem.disp.value;
			insn->rip_relative = op->mem.base == ZYDIS_REGISTER_RIP ||
					     op->mem.base == ZYDIS_REGISTER_EIP;
			g->mem_size = op->size / 8;
			g->mem_read = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
			g->mem_write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
			if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
				g->kind = KIND_GATHER;
		}
	}
}

static void set_exec(struct guest_insn *g, unsigned op)
{
	g->kind = KIND_EXEC;
	g->insn.op = op;
	g->ends_block = op_ends_block(op);
}

/* Moves to and from control, debug and segment registers share one mnemonic with all others. */
static int op_of_mov(const struct guest_insn *g, const ZydisDecodedInstruction *z)
{
	if (z->opcode_map == ZYDIS_OPCODE_MAP_0F) {
		switch (z->opcode) {
		case 0x20: return OP_MOV_FROM_CR;
		case 0x22: return OP_MOV_TO_CR;
		case 0x21: return OP_MOV_FROM_DR;
		case 0x23: return OP_MOV_TO_DR;
		}
	} else if (z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
		switch (z->opcode) {
		case 0x8c: return OP_MOV_FROM_SEG;
		case 0x8e: return OP_MOV_TO_SEG;
		}
	}
	return -1;
}

static void classify_branch(struct guest_insn *g, const ZydisDecodedInstruction *z, u32 mode)
{
	struct insn *insn = &g->insn;
	/* Inline only where the segments are flat and the operand size is the mode's own. */
	bool native = mode & MODE_CODE64
			      ? insn->opsize == 8
			      : (mode & MODE_FLAT) && (mode & MODE_CODE32) && insn->opsize == 4;
	bool stack_ok = mode & (MODE_CODE64 | MODE_STACK32);
	bool far = z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;

	g->ends_block = true;
	g->relative = z->raw.imm[0].is_relative;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
		g->kind = KIND_JMP;
		if (far)
			set_exec(g, OP_JMP_FAR);
		else if (!native)
			set_exec(g, OP_JMP_NEAR);
		break;
	case ZYDIS_MNEMONIC_CALL:
		g->kind = KIND_CALL;
		if (far)
			set_exec(g, OP_CALL_FAR);
		else if (!native || !stack_ok)
			set_exec(g, OP_CALL_NEAR);
		break;
	case ZYDIS_MNEMONIC_RET:
		g->kind = KIND_RET;
		if (far)
			set_exec(g, OP_RET_FAR);
		else if (!native || !stack_ok)
			set_exec(g, OP_RET_NEAR);
		break;
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		g->kind = KIND_LOOP;
		if (!native || insn->addrsize == 2)
			set_exec(g, OP_LOOP);
		break;
	default:
		g->kind = KIND_JCC;
		if (!native)
			set_exec(g, OP_JCC);
		break;
	}
}

static void classify(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *ops, u32 mode)
{
	struct insn *insn = &g->insn;
	int op = op_of_mnemonic(z->mnemonic);
	bool mode64 = mode & MODE_CODE64;

	if (op < 0 && z->mnemonic == ZYDIS_MNEMONIC_MOV)
		op = op_of_mov(g, z);
	/* MOVSD and CMPSD are a string instruction or an SSE2 one. */
	if (op < 0 && z->meta.category == ZYDIS_CATEGORY_STRINGOP) {
		if (z->mnemonic == ZYDIS_MNEMONIC_MOVSD)
			op = OP_MOVS;
		else if (z->mnemonic == ZYDIS_MNEMONIC_CMPSD)
			op = OP_CMPS;
	}
	if (op >= 0) {
		set_exec(g, op);
		return;
	}
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_RET:
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		classify_branch(g, z, mode);
		return;
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_POP:
		if (ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			ZydisRegisterGetClass(ops[0].reg.value) == ZYDIS_REGCLASS_SEGMENT) {
			insn->reg = segment_number(ops[0].reg.value);
			set_exec(g, z->mnemonic == ZYDIS_MNEMONIC_PUSH ? OP_PUSH_SEG : OP_POP_SEG);
		} else {
			g->kind = z->mnemonic == ZYDIS_MNEMONIC_PUSH ? KIND_PUSH : KIND_POP;
		}
		return;
	case ZYDIS_MNEMONIC_LEAVE:
		if (mode64 && insn->opsize == 8)
			g->kind = KIND_LEAVE;
		else
			set_exec(g, OP_LEAVE);
		return;
	case ZYDIS_MNEMONIC_LEA:
		g->kind = KIND_LEA;
		return;
	case ZYDIS_MNEMONIC_PAUSE:
		if (mode & MODE_PAUSE)
			set_exec(g, OP_PAUSE);
		return;
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		if (insn->is_mem && g->slot[SLOT_REG] != INSN_NO_REG)
			g->kind = KIND_BIT;
		return;
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		g->kind = KIND_MASKMOV;
		for (unsigned i = 0; i < z->operand_count; i++)
			if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
				insn->seg = segment_number(ops[i].mem.segment);
		g->mem_read = g->mem_write = true;
		g->mem_size = z->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ? 8 : 16;
		insn->is_mem = true;
		insn->base = RDI;
		insn->index = INSN_NO_REG;
		insn->scale = 1;
		insn->disp = 0;
		return;
	case ZYDIS_MNEMONIC_NOP:
		/* A prefetch of a register: some CPUs have that as a NOP, others raise #UD. */
		if (z->opcode_map == ZYDIS_OPCODE_MAP_0F && z->opcode == 0x0d)
			return;
		g->kind = KIND_NOP;
		return;
	case ZYDIS_MNEMONIC_ENDBR32:
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_RDSSPD:
	case ZYDIS_MNEMONIC_RDSSPQ:
	case ZYDIS_MNEMONIC_CLDEMOTE:
	case ZYDIS_MNEMONIC_PREFETCH:
	case ZYDIS_MNEMONIC_PREFETCHNTA:
	case ZYDIS_MNEMONIC_PREFETCHT0:
	case ZYDIS_MNEMONIC_PREFETCHT1:
	case ZYDIS_MNEMONIC_PREFETCHT2:
	case ZYDIS_MNEMONIC_PREFETCHW:
	case ZYDIS_MNEMONIC_PREFETCHWT1:
		g->kind = KIND_NOP;
		return;
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB:
		/* Checked as a load of one byte, APM3 CLFLUSH. */
		g->mem_size = 1;
		g->mem_read = true;
		g->mem_write = false;
		return;
	default:
		break;
	}
	if (z->meta.category == ZYDIS_CATEGORY_COND_BR)
		classify_branch(g, z, mode);
	else if (z->meta.category == ZYDIS_CATEGORY_CET || z->meta.category == ZYDIS_CATEGORY_UINTR)
		set_exec(g, OP_UD); /* shadow stacks are not offered: what is no hint is #UD */
}

/* Of SSE's sets, but without a vector register: CR0 and CR4.OSFXSR are nothing to them. APM1 4.12 */
static bool needs_no_state(const struct guest_insn *g, ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_MFENCE:
	case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_CRC32:
		return true;
	default:
		return g->kind == KIND_NOP;
	}
}

static void check_state(const struct cpu *cpu, struct guest_insn *g,
	const ZydisDecodedInstruction *z, u32 mode)
{
	/* FISTTP came with SSE3, but is x87's */
	enum fpu_need need = z->mnemonic == ZYDIS_MNEMONIC_FISTTP ? NEED_X87
								  : need_of_isa(z->meta.isa_set);
	static const u32 enabled[] = { [NEED_X87] = 0, [NEED_SSE] = MODE_SSE, [NEED_AVX] = MODE_AVX,
		[NEED_AVX512] = MODE_AVX512 };

	if (needs_no_state(g, z->mnemonic))
		need = NEED_NONE;
	g->vector = need >= NEED_SSE || z->meta.isa_set == ZYDIS_ISA_SET_PENTIUMMMX;
	if (need == NEED_ABSENT || !cpu_offers(cpu, z->meta.isa_set) ||
		(need == NEED_AVX512 && !cpu_has(cpu, 7, 1, 16))) {
		set_exec(g, OP_UD);
		return;
	}
	if (z->mnemonic == ZYDIS_MNEMONIC_FWAIT) {
		if (mode & MODE_FWAIT_NM)
			set_exec(g, OP_NM);
		return;
	}
	if (g->kind == KIND_EXEC || need == NEED_NONE)
		return;
	/* FXSAVE's and XSAVE's own handlers look at CR0 themselves. APM2 8.2.8, APM1 4.12 */
	if ((mode & enabled[need]) != enabled[need]) {
		set_exec(g, OP_UD);
	} else if (!(mode & MODE_FPU)) {
		set_exec(g, OP_NM);
		g->insn.imm = need == NEED_SSE; /* with CR0.EM that is #UD */
	}
}

/* x87 and MMX instructions but for the FN ones: APM2 8.2.17, SDM1 8.7 */
static bool waits_for_x87(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
	if (z->mnemonic == ZYDIS_MNEMONIC_FNSTCW || z->mnemonic == ZYDIS_MNEMONIC_FNSTSW)
		return false;
	if (need_of_isa(z->meta.isa_set) == NEED_X87 || z->mnemonic == ZYDIS_MNEMONIC_FISTTP)
		return true;
	for (unsigned i = 0; i < z->operand_count; i++)
		if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			ZydisRegisterGetClass(ops[i].reg.value) == ZYDIS_REGCLASS_MMX)
			return true;
	return false;
}

/* SDM2 VGATHERDPS, VPGATHERDD, VSCATTERDPS, VPSCATTERDD: opcodes 0F38 90..93 and A0..A3. */
static void set_gather(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *ops)
{
	const u8 *p = g->insn.bytes + g->opcode_at;
	bool evex = g->encoding == ENCODING_EVEX;
	unsigned len = 16 << (evex ? p[3] >> 5 & 3 : p[2] >> 2 & 1);
	struct insn_vector *vector = &g->insn.vector;

	set_exec(g, OP_GATHER);
	*vector = (struct insn_vector){ .element = p[2] & 0x80 ? 8 : 4,
		.index_size = z->opcode & 1 ? 8 : 4, .store = z->opcode >= 0xa0 };
	vector->count = vector->mask_count = len / MAX(vector->element, vector->index_size);
	vector->mask_kind = evex ? INSN_MASK_OPMASK : INSN_MASK_VECTOR;
	for (unsigned i = 0; i < z->operand_count; i++) {
		if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			vector->index = ZydisRegisterGetId(ops[i].mem.index);
		else if (ops[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			vector->reg = ZydisRegisterGetId(ops[i].reg.value);
		else if (ops[i].encoding == ZYDIS_OPERAND_ENCODING_NDSNDD ||
			 ops[i].encoding == ZYDIS_OPERAND_ENCODING_MASK)
			vector->mask = ZydisRegisterGetId(ops[i].reg.value);
	}
}

/* Instructions of these exception classes access all of their operand. SDM2 2.8 */
static bool suppresses_faults(ZydisExceptionClass class)
{
	switch (class) {
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E4:
	case ZYDIS_EXCEPTION_CLASS_E5:
	case ZYDIS_EXCEPTION_CLASS_E6:
	case ZYDIS_EXCEPTION_CLASS_E10:
	case ZYDIS_EXCEPTION_CLASS_E11:
		return true;
	default:
		return false;
	}
}

/* AVX-512's {k}: which elements of the operand in memory its bits stand for. */
static void set_opmask(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *mem)
{
	static const u8 broadcast[][2] = { /* elements in memory, elements made of them */
		[ZYDIS_BROADCAST_MODE_1_TO_2] = { 1, 2 }, [ZYDIS_BROADCAST_MODE_1_TO_4] = { 1, 4 },
		[ZYDIS_BROADCAST_MODE_1_TO_8] = { 1, 8 }, [ZYDIS_BROADCAST_MODE_1_TO_16] = { 1, 16 },
		[ZYDIS_BROADCAST_MODE_1_TO_32] = { 1, 32 }, [ZYDIS_BROADCAST_MODE_1_TO_64] = { 1, 64 },
		[ZYDIS_BROADCAST_MODE_2_TO_4] = { 2, 4 }, [ZYDIS_BROADCAST_MODE_2_TO_8] = { 2, 8 },
		[ZYDIS_BROADCAST_MODE_2_TO_16] = { 2, 16 }, [ZYDIS_BROADCAST_MODE_4_TO_8] = { 4, 8 },
		[ZYDIS_BROADCAST_MODE_4_TO_16] = { 4, 16 }, [ZYDIS_BROADCAST_MODE_8_TO_16] = { 8, 16 },
	};
	struct insn_vector *vector = &g->insn.vector;
	unsigned mode = z->avx.broadcast.mode;

	if (mode != ZYDIS_BROADCAST_MODE_INVALID) {
		vector->count = broadcast[mode][0];
		vector->mask_count = broadcast[mode][1];
	} else {
		vector->count = vector->mask_count = mem->element_count;
	}
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_VPDPBUSD:
	case ZYDIS_MNEMONIC_VPDPBUSDS:
	case ZYDIS_MNEMONIC_VPDPWSSD:
	case ZYDIS_MNEMONIC_VPDPWSSDS:
	case ZYDIS_MNEMONIC_VDPBF16PS:
		/* sums of several: a bit speaks of 32 bits */
		if (mode == ZYDIS_BROADCAST_MODE_INVALID)
			vector->count = vector->mask_count = g->mem_size / 4;
		break;
	case ZYDIS_MNEMONIC_VPCOMPRESSB:
	case ZYDIS_MNEMONIC_VPCOMPRESSW:
	case ZYDIS_MNEMONIC_VPCOMPRESSD:
	case ZYDIS_MNEMONIC_VPCOMPRESSQ:
	case ZYDIS_MNEMONIC_VCOMPRESSPS:
	case ZYDIS_MNEMONIC_VCOMPRESSPD:
	case ZYDIS_MNEMONIC_VPEXPANDB:
	case ZYDIS_MNEMONIC_VPEXPANDW:
	case ZYDIS_MNEMONIC_VPEXPANDD:
	case ZYDIS_MNEMONIC_VPEXPANDQ:
	case ZYDIS_MNEMONIC_VEXPANDPS:
	case ZYDIS_MNEMONIC_VEXPANDPD:
		vector->packed = true;
		break;
	default:
		break;
	}
	if (!vector->count || g->mem_size % vector->count)
		return;
	vector->element = g->mem_size / vector->count;
	vector->mask_kind = INSN_MASK_OPMASK;
	vector->mask = g->insn.bytes[g->opcode_at + 3] & 7;
}

/* Finds out which mask says what of the memory operand is accessed. */
static void set_mask(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *ops)
{
	struct insn_vector *vector = &g->insn.vector;

	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		vector->element = z->mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS ||
				  z->mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD ? 4 : 8;
		vector->mask_kind = INSN_MASK_VECTOR;
		vector->mask = ZydisRegisterGetId(ops[1].reg.value);
		vector->count = vector->mask_count = g->mem_size / vector->element;
		break;
	default:
		if (g->encoding != ENCODING_EVEX || !(g->insn.bytes[g->opcode_at + 3] & 7) ||
			!suppresses_faults(z->meta.exception_class))
			return;
		for (unsigned i = 0; i < z->operand_count; i++)
			if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
				set_opmask(g, z, &ops[i]);
		break;
	}
	g->masked = vector->mask_kind != INSN_MASK_NONE;
}

/* Vector operands that must be aligned: SDM2 2.5 (legacy types 1, 2, 4), APM1 4.3.2. */
static void find_alignment(struct guest_insn *g, const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVDQA32:
	case ZYDIS_MNEMONIC_VMOVDQA64:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		g->align = g->mem_size;
		return;
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
	/* here CPUs differ, and the host has the word */
	case ZYDIS_MNEMONIC_SHA1MSG1:
	case ZYDIS_MNEMONIC_SHA1MSG2:
	case ZYDIS_MNEMONIC_SHA1NEXTE:
	case ZYDIS_MNEMONIC_SHA1RNDS4:
	case ZYDIS_MNEMONIC_SHA256MSG1:
	case ZYDIS_MNEMONIC_SHA256MSG2:
	case ZYDIS_MNEMONIC_SHA256RNDS2:
		return;
	default:
		if (g->kind != KIND_PLAIN || !g->vector || g->encoding != ENCODING_LEGACY ||
			g->mem_size != 16)
			return;
		g->align = 16;
		g->align_waived = true;
	}
}

/* W selects the width of a general register or its like in memory, which is 32 bits here. SDM2 2.3.5,
 * and the instructions' own pages. */
static bool ignores_w(const struct guest_insn *g, const ZydisDecodedInstruction *z)
{
	for (unsigned i = 0; i < SLOT_COUNT; i++)
		if (g->slot[i] != INSN_NO_REG)
			return true;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_VCVTSI2SS:
	case ZYDIS_MNEMONIC_VCVTSI2SD:
	case ZYDIS_MNEMONIC_VCVTUSI2SS:
	case ZYDIS_MNEMONIC_VCVTUSI2SD:
	case ZYDIS_MNEMONIC_VMOVD:
	case ZYDIS_MNEMONIC_VPINSRD:
	case ZYDIS_MNEMONIC_VPEXTRD:
	case ZYDIS_MNEMONIC_VPCMPESTRI:
	case ZYDIS_MNEMONIC_VPCMPESTRM:
		return true;
	default:
		return false;
	}
}

int decode_guest(const struct cpu *cpu, u32 mode, const u8 *bytes, unsigned available,
	struct guest_insn *g)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct insn *insn = &g->insn;
	bool mode64 = mode & MODE_CODE64, mode32 = mode & MODE_CODE32;
	ZyanStatus status;

	memset(g, 0, sizeof(*g));
	memset(g->slot, INSN_NO_REG, sizeof(g->slot));
	insn->base = insn->index = INSN_NO_REG;
	insn->code_size = mode64 ? 8 : mode32 ? 4 : 2;
	insn->seg = DS;
	if (mode64)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else if (mode32)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(&decoder,
			mode & MODE_PROTECTED ? ZYDIS_MACHINE_MODE_LEGACY_16 : ZYDIS_MACHINE_MODE_REAL_16,
			ZYDIS_STACK_WIDTH_16);
	if (available > 15)
		available = 15;
	status = ZydisDecoderDecodeFull(&decoder, bytes, available, &z, ops);
	if (!ZYAN_SUCCESS(status)) {
		if (status == ZYDIS_STATUS_NO_MORE_DATA && available < 15)
			return -1;
		memcpy(insn->bytes, bytes, available);
		insn->len = 1;
		/* Longer than 15 bytes: #GP(0), APM2 8.2.14; all else that does not decode: #UD. */
		set_exec(g, status == ZYDIS_STATUS_NO_MORE_DATA ||
				status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ? OP_GP : OP_UD);
		return 0;
	}
	memcpy(insn->bytes, bytes, z.length);
	insn->len = z.length;
	insn->opsize = z.operand_width / 8;
	insn->addrsize = z.address_width / 8;
	insn->lock = z.attributes & ZYDIS_ATTRIB_HAS_LOCK;
	insn->opcode = z.opcode;
	scan_prefixes(g, mode);
	for (unsigned i = 0; i < g->opcode_at; i++) {
		if (bytes[i] == 0x66)
			g->prefix_66 = true;
		else if (bytes[i] == 0xf2 || bytes[i] == 0xf3)
			g->prefix_rep = bytes[i];
	}
	g->prefix_lock = insn->lock;
	g->encoding = z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? ENCODING_VEX :
		z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ? ENCODING_EVEX : ENCODING_LEGACY;
	g->has_modrm = z.attributes & ZYDIS_ATTRIB_HAS_MODRM;
	g->modrm_at = z.raw.modrm.offset;
	if (z.raw.imm[0].size) {
		g->imm_at = z.raw.imm[0].offset;
		g->imm_len = insn->len - g->imm_at;
	} else {
		g->imm_at = insn->len;
		if (z.encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW)
			g->imm_at--;
	}
	if (g->has_modrm) {
		insn->reg = z.raw.modrm.reg | (z.raw.rex.R ? 8 : 0);
		insn->modrm_ext = z.raw.modrm.reg;
		insn->rm = z.raw.modrm.rm | (z.raw.rex.B ? 8 : 0);
	} else {
		insn->rm = (z.opcode & 7) | (z.raw.rex.B ? 8 : 0);
	}
	insn->imm = z.raw.imm[0].value.u;
	insn->imm2 = z.raw.imm[1].value.u;
	if (z.operand_count && ops[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
		insn->imm = ops[0].ptr.offset;
		insn->imm2 = ops[0].ptr.segment;
	} else if (z.raw.imm[0].size && (z.raw.imm[0].is_signed || z.raw.imm[0].is_relative)) {
		insn->imm = z.raw.imm[0].value.s;
	}
	if (z.meta.category == ZYDIS_CATEGORY_STRINGOP || z.meta.category == ZYDIS_CATEGORY_IOSTRINGOP)
		insn->rep = g->prefix_rep;
	read_operands(g, &z, ops);
	if (g->encoding != ENCODING_LEGACY) {
		g->w_ignored = !mode64 && ignores_w(g, &z);
		for (unsigned i = 0; i < z.operand_count; i++)
			g->imm_is_register |= ops[i].encoding == ZYDIS_OPERAND_ENCODING_IS4;
	}
	/* Strings and XLAT have hidden memory operands, whose segment an override may change. */
	if (!insn->is_mem)
		for (unsigned i = 0; i < z.operand_count; i++)
			if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
				ops[i].mem.base != ZYDIS_REGISTER_RDI &&
				ops[i].mem.base != ZYDIS_REGISTER_EDI &&
				ops[i].mem.base != ZYDIS_REGISTER_DI)
				insn->seg = segment_number(ops[i].mem.segment);
	if (z.mnemonic == ZYDIS_MNEMONIC_LSS)
		insn->imm2 = SS;
	else if (z.mnemonic == ZYDIS_MNEMONIC_LDS)
		insn->imm2 = DS;
	else if (z.mnemonic == ZYDIS_MNEMONIC_LES)
		insn->imm2 = ES;
	else if (z.mnemonic == ZYDIS_MNEMONIC_LFS)
		insn->imm2 = FS;
	else if (z.mnemonic == ZYDIS_MNEMONIC_LGS)
		insn->imm2 = GS;
	read_flags(g, &z);
	if (g->kind != KIND_GATHER)
		classify(g, &z, ops, mode);
	check_state(cpu, g, &z, mode);
	if (g->kind == KIND_GATHER)
		set_gather(g, &z, ops);
	else if (insn->is_mem && g->kind != KIND_EXEC)
		set_mask(g, &z, ops);
	if (insn->is_mem) {
		find_alignment(g, &z);
		g->waits = waits_for_x87(&z, ops);
	}
	return 0;
}
