#!/bin/bash
# SPDX-License-Identifier: MIT
# Without privileges: as a user with no capability, no new ones by exec, in a user namespace of its
# own, and without the devices of a host that could help.
. "$(dirname "$0")/lib.sh"
use_kernel
initrd=$("$root/tools/tiny-initrd.sh")
command -v setpriv >/dev/null || skip "no setpriv(1)"
[ "$(id -u)" = 0 ] && change=(--reuid 65534 --regid 65534 --clear-groups) || change=()

# What that user must be able to read
chmod 755 "$dir"
install -m 755 "$nestbox" "$dir/nestbox"
install -m 644 "$vmlinuz" "$dir/vmlinuz"
install -m 644 "$initrd" "$dir/initrd"
status=0
timeout 120 setpriv "${change[@]}" --no-new-privs --inh-caps=-all --bounding-set=-all \
	sh -c 'grep -E "^(Uid|CapEff|NoNewPrivs)" /proc/self/status; exec "$@"' sh \
	"$dir/nestbox" run --engine soft --kernel "$dir/vmlinuz" --initrd "$dir/initrd" --net user --rng on \
	--nested-hw-virt amd --append "console=ttyS0 quiet marker=L1" </dev/null >"$log" 2>&1 ||
	status=$?
expect 'CapEff:.0000000000000000' "it still has capabilities"
expect 'NoNewPrivs:.1'
expect 'L1: user space after'
expect_status 0
pass "no privilege is needed"
