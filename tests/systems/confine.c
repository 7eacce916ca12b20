/* SPDX-License-Identifier: MIT */
/*
 * Runs a program with fewer system calls: confine docker|linux-5.10 PROGRAM [ARGUMENT...].
 *   docker      what the default seccomp profile of Docker denies answers EPERM, and so does what
 *               its older editions did not know yet (all after Linux 5.10). The calls are those of
 *               docs.docker.com/engine/security/seccomp, and io_uring.
 *   linux-5.10  what came after Linux 5.10 answers ENOSYS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LAST_OF_5_10 SYS_process_madvise

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	CLONE_NEWPID | CLONE_NEWNET)

static const unsigned denied[] = {
	SYS_acct, SYS_add_key, SYS_adjtimex, SYS_bpf, SYS_chroot, SYS_clock_adjtime,
	SYS_clock_settime, SYS_create_module, SYS_delete_module, SYS_finit_module,
	SYS_get_kernel_syms, SYS_get_mempolicy, SYS_init_module, SYS_io_uring_enter,
	SYS_io_uring_register, SYS_io_uring_setup, SYS_ioperm, SYS_iopl, SYS_kcmp,
	SYS_kexec_file_load, SYS_kexec_load, SYS_keyctl, SYS_lookup_dcookie, SYS_mbind,
	SYS_migrate_pages, SYS_mount, SYS_move_pages, SYS_nfsservctl, SYS_open_by_handle_at,
	SYS_perf_event_open, SYS_pivot_root, SYS_process_vm_readv, SYS_process_vm_writev,
	SYS_ptrace, SYS_query_module, SYS_quotactl, SYS_reboot, SYS_request_key,
	SYS_set_mempolicy, SYS_setns, SYS_settimeofday, SYS_swapoff, SYS_swapon, SYS_sysfs,
	SYS_umount2, SYS_unshare, SYS_uselib, SYS_userfaultfd, SYS_ustat, SYS_vhangup,
};

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

int main(int argc, char **argv)
{
	struct sock_filter code[2 * sizeof(denied) / sizeof(denied[0]) + 32];
	struct sock_fprog program = { .filter = code };
	int docker = argc > 2 && !strcmp(argv[1], "docker");
	unsigned n = 0;

	if (!docker && (argc < 3 || strcmp(argv[1], "linux-5.10"))) {
		fprintf(stderr, "confine docker|linux-5.10 PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	code[n++] = (struct sock_filter)LOAD(arch);
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	code[n++] = (struct sock_filter)ANSWER(EPERM);
	code[n++] = (struct sock_filter)LOAD(nr);
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST_OF_5_10, 0, 1);
	code[n++] = (struct sock_filter)ANSWER(docker ? EPERM : ENOSYS);
	for (unsigned i = 0; docker && i < sizeof(denied) / sizeof(denied[0]); i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied[i], 0, 1);
		code[n++] = (struct sock_filter)ANSWER(EPERM);
	}
	if (docker) {
		/* clone3's flags lie where a filter cannot look: the C library shall use clone */
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
		code[n++] = (struct sock_filter)ANSWER(ENOSYS);
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3);
		code[n++] = (struct sock_filter)LOAD(args[0]);
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1);
		code[n++] = (struct sock_filter)ANSWER(EPERM);
	}
	code[n++] = (struct sock_filter)ALLOW;
	program.len = n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("confine");
		return 77;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
