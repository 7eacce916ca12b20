#!/bin/bash
# SPDX-License-Identifier: MIT
# The KVM engine, inside the soft engine's L1, which has AMD-V and Linux' KVM: nestbox in nestbox.
. "$(dirname "$0")/lib.sh"
use_kernel
make_end_guest

# L2: comes up, finds its disk, starts itself once again, powers off
make_initrd virtio_pci virtio_blk virtio_rng <<'END'
boots=$(head -c 1 /dev/vda | tr '\0' 0)
echo "L2: boot $boots, $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
head -c 16 /dev/hwrng | wc -c | sed 's/^/L2: random bytes: /'
if [ "$boots" -lt 1 ]; then
	printf $((boots + 1)) | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null
	sync
	reboot -f
fi
from=$(date +%s)
sleep 3
echo "L2: slept $(($(date +%s) - from))"
END
mv "$dir/initrd.cpio" "$dir/l2.cpio"

begin_l1_tree "$dir/l2.cpio" "$dir/end.guest"
make_initrd kvm-amd <<END
# One run: what it is for, then its options
inner() {
	local what=\$1
	shift
	$program run "\$@" </dev/null
	echo "L1: \$what: status \$?"
}
end="--kernel /boot/end.guest --memory 16M"
inner debug-exit --engine kvm \$end --append d --debug-exit
inner triple --engine kvm \$end --append t --no-reboot
inner reset --engine kvm \$end --append r --no-reboot
# What the host's CPU runs and KVM cannot: one line says so, and the machine ends
inner no-memory --engine kvm \$end --append m
# Linux' reset of a triple fault, again and again; a halt that nothing ends; a loop
for letter in t h s; do
	$program run --engine kvm \$end --append \$letter </dev/null &
	sleep 2
	kill -0 \$! && echo "L1: \$letter: runs"
	kill -TERM \$!
	wait \$!
	echo "L1: \$letter: stopped with status \$?"
done
inner vendor --engine kvm \$end --append d --nested-hw-virt intel
inner auto \$end --append d --debug-exit
truncate -s 1M /tmp/disk
inner linux --memory 128M --kernel /boot/vmlinuz --initrd /boot/l2.cpio --disk /tmp/disk --rng on \
	--append "console=ttyS0 quiet"
rmmod kvm-amd
inner gone --engine kvm \$end --append d --debug-exit
inner gone-auto \$end --append d --debug-exit
END

run 400 --engine soft --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --memory 1G \
	--nested-hw-virt amd --append "console=ttyS0 quiet"
expect 'L1: debug-exit: status 85'
expect 'L1: triple: status 3'
expect 'L1: reset: status 1'
expect 'KVM cannot emulate .* RIP 0xd0000000'
expect 'L1: no-memory: status 1'
for letter in t h s; do
	expect "L1: $letter: runs"
	expect "L1: $letter: stopped with status 1"
done
expect '^nestbox \(L1\): --nested-hw-virt: KVM gives guests AMD-V only'
expect 'L1: vendor: status 2'
expect '^nestbox \(L1\): engine kvm: /dev/kvm works'
expect 'L1: auto: status 85'
expect 'L2: boot 0, (tsc|kvm-clock)'
expect 'L2: boot 1, (tsc|kvm-clock)' "no L2 came up after the reset"
expect 'L2: random bytes: 16'
expect 'L2: slept [34]'
expect 'L1: linux: status 0'
expect 'engine kvm: /dev/kvm: .*as root: modprobe kvm_amd'
expect 'L1: gone: status 2'
expect '^nestbox \(L1\): engine soft: /dev/kvm: '
expect 'L1: gone-auto: status 85'
expect_status 0 "L1 powered off"
pass "ends, resets, refusals and a Linux guest on KVM inside the soft engine's L1"
