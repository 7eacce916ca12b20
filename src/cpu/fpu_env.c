/* SPDX-License-Identifier: MIT */
/*
 * FNSTENV, FLDENV, FNSAVE, FRSTOR: the x87 environment in its four forms, SDM1 8.1.10, APM2 11.4.4.
 * The host's instruction works on the 32-bit protected-mode form, here it becomes the guest's.
 */
#include "cpu/fpu.h"

#define ENV_SIZE 28  /* of the 32-bit forms */
#define ST_SIZE 80
#define FSW_ES BIT(7)

struct environment {
	u16 fcw, fsw, ftw;
	struct fpu_pointers pointers;
};

static bool real_form(const struct cpu *cpu)
{
	return !cpu_protected(cpu);
}

static unsigned image_size(const struct insn *insn)
{
	return insn->opsize == 2 ? ENV_SIZE / 2 : ENV_SIZE;
}

/* The image's words, which are what #AC looks at. */
static unsigned word_size(const struct insn *insn)
{
	return insn->opsize == 2 ? 2 : 4;
}

static void host_environment(const struct cpu *cpu, const u32 host[7], struct environment *env)
{
	env->fcw = host[0];
	env->fsw = host[1];
	env->ftw = host[2];
	env->pointers = fpu_pointers_saved(cpu, host[3]);
}

/* Seven words, or seven doublewords whose unused halves are ones. */
static void encode(const struct cpu *cpu, const struct insn *insn, const struct environment *env,
	u8 *image)
{
	const struct fpu_pointers *p = &env->pointers;
	u32 wide[7] = { env->fcw, env->fsw, env->ftw, p->fip, 0, p->fdp, 0 };
	u16 narrow[7] = { env->fcw, env->fsw, env->ftw, p->fip, 0, p->fdp, 0 };

	if (real_form(cpu)) {
		wide[3] = 0xffff0000 | (u16)p->fip;
		wide[4] = (p->fip >> 16 & 0xffff) << 12 | p->fop;
		wide[5] = 0xffff0000 | (u16)p->fdp;
		wide[6] = (p->fdp >> 16 & 0xffff) << 12;
		narrow[4] = (p->fip >> 16 & 0xf) << 12 | p->fop;
		narrow[6] = (p->fdp >> 16 & 0xf) << 12;
	} else {
		wide[4] = (u32)p->fop << 16;
		wide[6] = 0xffff0000;
	}
	for (unsigned i = 0; i < 3; i++)
		wide[i] |= 0xffff0000;
	if (insn->opsize == 2)
		copy_bytes(image, narrow, sizeof(narrow));
	else
		copy_bytes(image, wide, sizeof(wide));
}

static void decode(const struct cpu *cpu, const struct insn *insn, const u8 *image,
	struct environment *env)
{
	struct fpu_pointers *p = &env->pointers;
	u32 word[7];
	u16 narrow[7];

	if (insn->opsize == 2) {
		copy_bytes(narrow, image, sizeof(narrow));
		for (unsigned i = 0; i < 7; i++)
			word[i] = narrow[i];
	} else {
		copy_bytes(word, image, sizeof(word));
	}
	env->fcw = word[0];
	env->fsw = word[1];
	env->ftw = word[2];
	if (real_form(cpu)) {
		p->fip = (u16)word[3] | (u64)(word[4] >> 12 & 0xffff) << 16;
		p->fdp = (u16)word[5] | (u64)(word[6] >> 12 & 0xffff) << 16;
		p->fop = word[4] & 0x7ff;
	} else {
		p->fip = word[3];
		p->fdp = word[5];
		p->fop = insn->opsize == 2 ? 0 : word[4] >> 16 & 0x7ff;
	}
}

static int check_available(struct cpu *cpu)
{
	return cpu->cr0 & (CR0_EM | CR0_TS) ? cpu_fault(cpu, VEC_NM) : 0;
}

/* The forms that wait: an unmasked exception that is pending comes first, APM1 6.8. */
static int check_pending(struct cpu *cpu)
{
	u16 fsw;

	cpu_unpark_fpu(cpu);
	__asm__ volatile("fnstsw %0" : "=a"(fsw));
	return fsw & FSW_ES ? cpu_fault(cpu, VEC_MF) : 0;
}

static int save(struct cpu *cpu, const struct insn *insn, bool registers)
{
	unsigned env_size = image_size(insn), size = env_size + (registers ? ST_SIZE : 0);
	u32 host[(ENV_SIZE + ST_SIZE) / 4];
	u8 image[ENV_SIZE + ST_SIZE];
	struct environment env;
	u64 linear;

	if (check_available(cpu) ||
	    cpu_linear(cpu, insn->seg, cpu_effective_address(cpu, insn), size, true, &linear) ||
	    cpu_check_aligned(cpu, linear, word_size(insn)) ||
	    cpu_probe(cpu, linear, size, ACCESS_WRITE))
		return OUTCOME_FAULT;
	/* these change the state (masks, FNINIT), so no fault may come after */
	cpu_unpark_fpu(cpu);
	if (registers)
		__asm__ volatile("fnsave %0" : "=m"(host));
	else
		__asm__ volatile("fnstenv %0" : "=m"(host));
	host_environment(cpu, host, &env);
	encode(cpu, insn, &env, image);
	if (registers)
		copy_bytes(image + env_size, (u8 *)host + ENV_SIZE, ST_SIZE);
	cpu_write(cpu, linear, image, size, ACCESS_WRITE);
	return OUTCOME_NEXT;
}

static int load(struct cpu *cpu, const struct insn *insn, bool registers)
{
	unsigned env_size = image_size(insn), size = env_size + (registers ? ST_SIZE : 0);
	u32 host[(ENV_SIZE + ST_SIZE) / 4];
	u8 image[ENV_SIZE + ST_SIZE];
	struct environment env;

	if (check_available(cpu) || check_pending(cpu) ||
	    cpu_read_words(cpu, insn->seg, cpu_effective_address(cpu, insn), image, size,
		    word_size(insn)))
		return OUTCOME_FAULT;
	decode(cpu, insn, image, &env);
	zero_bytes(host, ENV_SIZE);
	host[0] = env.fcw;
	host[1] = env.fsw;
	host[2] = env.ftw;
	host[3] = fpu_pointers_load(cpu, &env.pointers);
	cpu_unpark_fpu(cpu);
	if (registers) {
		copy_bytes((u8 *)host + ENV_SIZE, image + env_size, ST_SIZE);
		__asm__ volatile("frstor %0" : : "m"(host));
	} else {
		__asm__ volatile("fldenv %0" : : "m"(host));
	}
	return OUTCOME_NEXT;
}

int exec_FNSAVE(struct cpu *cpu, const struct insn *insn)
{
	return save(cpu, insn, true);
}

int exec_FNSTENV(struct cpu *cpu, const struct insn *insn)
{
	return save(cpu, insn, false);
}

int exec_FRSTOR(struct cpu *cpu, const struct insn *insn)
{
	return load(cpu, insn, true);
}

int exec_FLDENV(struct cpu *cpu, const struct insn *insn)
{
	return load(cpu, insn, false);
}
