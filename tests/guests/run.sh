#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs a bare-metal guest: run.sh VMM IMAGE [OPTION...]. VMM is nestbox's path, or "tcg" for
# QEMU's opinion of the same image. Succeeds when the guest ends with GUEST_PASS (2 * 16 + 1).
set -u
vmm=$1
image=$2
shift 2
if [ "$vmm" = tcg ]; then
	timeout 100 qemu-system-x86_64 -accel tcg -cpu max -m 128 -nographic -nodefaults \
		-serial stdio -no-reboot -device isa-debug-exit,iobase=0xf4 -kernel "$image" \
		-append tcg "$@" </dev/null
else
	timeout 100 "$vmm" run --engine soft --kernel "$image" --memory 128M --debug-exit --no-reboot \
		--serial stdio "$@" </dev/null
fi
status=$?
[ $status -eq 33 ] && exit 0
echo "$image: ended with status $status, not 33" >&2
exit 1
