#!/bin/bash
# SPDX-License-Identifier: MIT
# With the system calls that a container under Docker's default seccomp profile leaves, and with
# those of Linux 5.10; no /dev but what a container has, where a user namespace can be had for that.
. "$(dirname "$0")/lib.sh"
use_kernel
initrd=$("$root/tools/tiny-initrd.sh")
gcc -O2 -o "$dir/confine" "$root/tests/systems/confine.c"
"$dir/confine" docker true || skip "no seccomp filters here"
! "$dir/confine" docker unshare --user true 2>/dev/null || fail "the filter lets unshare through"

inside=()
use_private_mounts
if [ ${#private[@]} -gt 0 ]; then
	cat >"$dir/inside" <<'END'
#!/bin/sh
mkdir "$1/dev"
mount -t tmpfs dev "$1/dev"
for node in null zero full random urandom tty; do
	: >"$1/dev/$node"
	mount --bind "/dev/$node" "$1/dev/$node"
done
mount --rbind "$1/dev" /dev
shift
exec "$@"
END
	chmod +x "$dir/inside"
	inside=("${private[@]}" "$dir/inside" "$dir")
fi
for system in docker linux-5.10; do
	status=0
	timeout 120 "${inside[@]}" "$dir/confine" $system \
		"$nestbox" run --engine soft --kernel "$vmlinuz" --initrd "$initrd" --net user --rng on \
		--nested-hw-virt amd --append "console=ttyS0 quiet marker=L1" \
		</dev/null >"$log" 2>&1 || status=$?
	expect 'L1: user space after' "no user space ($system)"
	expect_status 0 "$system"
	rm -rf "$dir/dev"
done
pass "runs with the system calls that Docker leaves, and with those of Linux 5.10"
