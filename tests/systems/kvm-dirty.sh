#!/bin/bash
# SPDX-License-Identifier: MIT
# The dirty log of the KVM engine, inside the soft engine's L1: the unit test's machine on KVM.
. "$(dirname "$0")/lib.sh"
use_kernel
program=$(realpath "$nestbox")
test=$(dirname "$program")/../../tests/unit/test_dirty
[ -x "$test" ] || ninja -C "$(dirname "$program")/../.." tests/unit/test_dirty >"$log"
test=$(realpath "$test")
tree=$dir/tree
mkdir -p "$tree"
copy_program "$tree" "$test"
make_initrd kvm-amd <<END
$test kvm
echo "L1: status \$?"
END

run 300 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --memory 1G --nested-hw-virt amd \
	--append "console=ttyS0 quiet"
expect 'OK . test_machine'
expect 'L1: status 0'
expect_status 0 "L1 powered off"
pass "what a guest and its devices write is in the log on KVM, and a copy made by it is whole"
