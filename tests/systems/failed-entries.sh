#!/bin/bash
# SPDX-License-Identifier: MIT
# VM entries that fail: --trace vmentry tells the check, its section and the fields it looked at, and
# --stats counts them by check. The guest is the one that fails each check of VMRUN.
. "$(dirname "$0")/lib.sh"
guest=$(dirname "$nestbox")/tests/guests/svm/svm_checks.guest
[ -e "$guest" ] || fail "no $guest: ninja -C $(dirname "$nestbox")"
checks=(--kernel "$guest" --memory 128M --debug-exit --no-reboot --nested-hw-virt amd)

run 120 "${checks[@]}" --trace vmentry --stats
expect_status 33 "the guest found no fault"
at='^vmentry: VMRUN of [0-9a-f]+ at [0-9a-f]+ failed:'
expect "$at CR0.NW is set and CR0.CD is not \(APM2 15.5.1\): cr0 a[0-9a-f]{7}\$"
expect "$at the ASID is zero \(APM2 15.5.1\): guest_asid 0\$"
expect "$at EFER.LME and CR0.PG are set and CR4.PAE is not \(APM2 15.5.1\): efer [0-9a-f]+, cr0 [0-9a-f]+, cr4 [0-9a-f]+\$"
expect "$at EVENTINJ has a reserved type \(APM2 15.20\): event_inj 8[0-9a-f]+\$"
expect '^  failed VM entries  *1  the ASID is zero \(APM2 15.5.1\)$'
expect '^  failed VM entries  *32  DR7 bits 63:32 are not zero \(APM2 15.5.1\)$'
# as many as were traced
traced=$(grep -acE "$at" "$log")
counted=$(awk '/^  failed VM entries  / { n += $4 } END { print n }' "$log")
[ "$traced" -eq "$counted" ] || fail "$traced failed entries were traced, $counted counted"

run 120 "${checks[@]}"
expect_status 33
! grep -aqE 'vmentry:|failed VM entries' "$log" || fail "told without being asked"
pass "$traced failed entries, each with its check, its section and its fields"
