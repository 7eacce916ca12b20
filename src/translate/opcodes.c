/* SPDX-License-Identifier: MIT */
/*
 * Tables by mnemonic and instruction set: what C executes, what ends a block, what state is needed,
 * what CPUID must offer.
 */
#include "translate/decode_parts.h"

/* Instructions that C executes and nothing more is to be said about them. */
int op_of_mnemonic(ZydisMnemonic mnemonic)
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
bool op_ends_block(unsigned op, unsigned code_size)
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
	case OP_LGDT: case OP_LIDT: case OP_LLDT: case OP_LTR: case OP_VMSAVE: case OP_VMPTRLD:
	case OP_VMPTRST: case OP_VMCLEAR:
		return false;
	case OP_VMLOAD: /* FS and GS, whose limits code outside of 64-bit mode looks at */
		return code_size != 8;
	default:
		return true;
	}
}

static bool is_avx512(ZydisISASet isa)
{
	return isa >= ZYDIS_ISA_SET_AVX512BW_128 && isa <= ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_512;
}

enum fpu_need need_of_isa(ZydisISASet isa)
{
	if (is_avx512(isa))
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

/* AVX-512's parts, each by its bit of leaf 7; vectors of 128 and 256 bits want AVX512VL too, SDM1 15.2. */
static bool offers_avx512(const struct cpu *cpu, ZydisISASet isa)
{
	enum { EBX = 1, ECX, EDX };
#define SET(name, last_name, reg, bit) \
	{ ZYDIS_ISA_SET_AVX512##name##_128, ZYDIS_ISA_SET_AVX512##name##_256, \
		ZYDIS_ISA_SET_AVX512##name##_##last_name, reg, bit }
	static const struct {
		u16 set_128, set_256, last;
		u8 reg, bit;
	} sets[] = {
		SET(BW, KOP, EBX, 30), SET(CD, 512, EBX, 28), SET(DQ, SCALAR, EBX, 17),
		SET(F, SCALAR, EBX, 16), SET(_BITALG, 512, ECX, 12), SET(_FP16, SCALAR, EDX, 23),
		SET(_GFNI, 512, ECX, 8), SET(_IFMA, 512, EBX, 21), SET(_VAES, 512, ECX, 9),
		SET(_VBMI2, 512, ECX, 6), SET(_VBMI, 512, ECX, 1), SET(_VNNI, 512, ECX, 11),
		SET(_VP2INTERSECT, 512, EDX, 8), SET(_VPCLMULQDQ, 512, ECX, 10),
		SET(_VPOPCNTDQ, 512, ECX, 14),
	};
#undef SET

	for (unsigned i = 0; i < ARRAY_SIZE(sets); i++)
		if (isa >= sets[i].set_128 && isa <= sets[i].last)
			return cpu_has(cpu, 7, sets[i].reg, sets[i].bit) &&
			       ((isa != sets[i].set_128 && isa != sets[i].set_256) ||
				       cpu_has(cpu, 7, EBX, 31));
	switch (isa) {
	case ZYDIS_ISA_SET_AVX512_BF16_128:
	case ZYDIS_ISA_SET_AVX512_BF16_256:
		return cpu_has_in(cpu, 7, 1, 0, 5) && cpu_has(cpu, 7, EBX, 31);
	case ZYDIS_ISA_SET_AVX512_BF16_512: return cpu_has_in(cpu, 7, 1, 0, 5);
	default: return false; /* ER, PF, 4FMAPS and 4VNNIW: of CPUs that are no more */
	}
}

bool cpu_offers(const struct cpu *cpu, ZydisISASet isa)
{
	if (is_avx512(isa))
		return offers_avx512(cpu, isa);
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
	case ZYDIS_ISA_SET_AVX_VNNI: return cpu_has_in(cpu, 7, 1, 0, 4);
	case ZYDIS_ISA_SET_MONITOR: return cpu_has(cpu, 1, 2, 3);
	case ZYDIS_ISA_SET_XSAVE: return cpu_has(cpu, 1, 2, 26);
	case ZYDIS_ISA_SET_SVM: return cpu_has(cpu, 0x80000001, 2, 2);
	case ZYDIS_ISA_SET_VTX:
	case ZYDIS_ISA_SET_VMFUNC: return cpu_has(cpu, 1, 2, 5);
	default: return true;
	}
}
