#!/bin/bash
# SPDX-License-Identifier: MIT
# Three levels of nestbox: the soft engine runs L1, the KVM engine there L2, the one there L3. Then
# L1 kills the nestbox that runs them and starts another machine. kvm-levels.sh [amd|intel]: whose
# virtualization unit L1 and L2 have.
. "$(dirname "$0")/lib.sh"
vendor=${1:-amd}
flag=svm
[ "$vendor" = amd ] || flag=vmx
use_kernel
make_end_guest
program=$(realpath "$nestbox")
tree=$dir/tree
mkdir -p "$tree/boot"
install -m 644 "$vmlinuz" "$tree/boot/vmlinuz"
install -m 644 "$("$root/tools/tiny-initrd.sh")" "$tree/boot/l3.cpio"
install -m 644 "$dir/end.guest" "$tree/boot/end.guest"
copy_program "$tree" "$program"

# L2 is L1's tree without its own initrd in it
make_initrd "kvm-$vendor" <<END
if [ ! -e /boot/l2.cpio ]; then
	echo "L2: user space, CPU has \$(grep -o -w -m 1 $flag /proc/cpuinfo | head -n 1)"
	$program run --engine kvm --memory 96M --kernel /boot/vmlinuz --initrd /boot/l3.cpio \
		--append "console=ttyS0 quiet marker=L3 stay" </dev/null
	exit
fi
$program run --engine kvm --nested-hw-virt $vendor --memory 400M --kernel /boot/vmlinuz \
	--initrd /boot/l2.cpio --append "console=ttyS0 quiet" </dev/null >/tmp/log 2>&1 &
until grep -q 'L3: still here' /tmp/log; do
	kill -0 \$! || break
	sleep 1
done
kill -KILL \$!
wait
cat /tmp/log
echo "L1: killed L2 and L3"
$program run --engine kvm --memory 16M --kernel /boot/end.guest --append d --debug-exit </dev/null
echo "L1: another machine: status \$?"
END
mv "$dir/initrd.cpio" "$tree/boot/l2.cpio"
pack_initrd "$tree" "$dir/l1.cpio"

run 900 --kernel "$vmlinuz" --initrd "$dir/l1.cpio" --memory 1G --nested-hw-virt "$vendor" \
	--append "console=ttyS0 quiet"
expect "L2: user space, CPU has $flag"
expect 'L3: user space after'
expect 'L3: still here'
expect 'L1: killed L2 and L3'
expect 'L1: another machine: status 85'
expect_status 0 "L1 powered off"
pass "L3 reaches user space, and L1 is well after both inner levels are killed"
