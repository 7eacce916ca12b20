#!/bin/bash
# SPDX-License-Identifier: MIT
# VM entries that fail: --trace vmentry tells the check, its section and the fields it looked at, and
# --stats counts them by check. The guests are those that try failing entries out.
. "$(dirname "$0")/lib.sh"
guests=$(dirname "$nestbox")/tests/guests

# of VENDOR GUEST [OPTION...]
of() {
	local vendor=$1 guest=$guests/$2
	shift 2
	[ -e "$guest" ] || fail "no $guest: ninja -C $(dirname "$nestbox")"
	run 120 --kernel "$guest" --memory 128M --debug-exit --no-reboot --nested-hw-virt "$vendor" "$@"
	expect_status 33 "the guest found a fault"
}

# What --stats counts is as much as was traced.
compare_counts() {
	local traced counted
	traced=$(grep -acE "$at" "$log")
	counted=$(awk '/^  failed VM entries  / { n += $4 } END { print n }' "$log")
	[ "$traced" -gt 0 ] || fail "no failed entry was traced"
	[ "$traced" -eq "$counted" ] || fail "$traced failed entries were traced, $counted counted"
	all=$((all + traced))
}
all=0

of amd svm/svm_checks.guest --trace vmentry --stats
at='^vmentry: VMRUN of [0-9a-f]+ at [0-9a-f]+ failed:'
expect "$at CR0.NW is set and CR0.CD is not \(APM2 15.5.1\): cr0 a[0-9a-f]{7}\$"
expect "$at the ASID is zero \(APM2 15.5.1\): guest_asid 0\$"
expect "$at EFER.LME and CR0.PG are set and CR4.PAE is not \(APM2 15.5.1\): efer [0-9a-f]+, cr0 [0-9a-f]+, cr4 [0-9a-f]+\$"
expect "$at EVENTINJ has a reserved type \(APM2 15.20\): event_inj 8[0-9a-f]+\$"
expect '^  failed VM entries  *1  the ASID is zero \(APM2 15.5.1\)$'
expect '^  failed VM entries  *32  DR7 bits 63:32 are not zero \(APM2 15.5.1\)$'
compare_counts

of intel vmx/vmx_failed_entries.guest --trace vmentry --stats
at='^vmentry: VMLAUNCH of [0-9a-f]+ at [0-9a-f]+ failed:'
expect "$at the CR3-target count is greater than 4 \(SDM3 27.2.1.1\): cr3_target_count 5\$"
expect "$at the host's GS base is not canonical \(SDM3 27.2.3\): host_gs_base 800000000000\$"
expect "$at TR's type is not 11, a busy 64-bit TSS, and \"IA-32e mode guest\" is 1 \(SDM3 27.3.1.2\): guest_tr_rights 89, entry_controls [0-9a-f]+\$"
expect "$at an entry of the MSR-load area cannot be loaded \(SDM3 27.4\): entry 2, entry_msr_load_address [0-9a-f]+, entry_msr_load_count 2\$"
expect '^  failed VM entries  *2  the CR3-target count is greater than 4 \(SDM3 27.2.1.1\)$'
compare_counts

of intel vmx/vmx_failed_entries.guest
! grep -aqE 'vmentry:|failed VM entries' "$log" || fail "told without being asked"
pass "$all failed entries of both vendors, each with its check, its section and its fields"
