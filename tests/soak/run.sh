#!/bin/bash
# SPDX-License-Identifier: MIT
# The long test, outside CI. Its parts, all of them unless some are named:
#   vmcbs   a million VMRUNs of random VMCBs
#   tiny    a tiny hypervisor's L2 started and stopped a thousand times, by nested and shadow paging
#   levels  a hundred starts of L2 and ten of L3, nestbox in nestbox
#   clock   the clocks of L1, L2 and L3 against the host's for ten minutes
#   load    an hour in which L1 runs one L2 after another in QEMU under load
# The memory of the process must be flat at the end of each.
#   run.sh [--starts N] [--l2-starts N] [--l3-starts N] [--entries N] [--seed N] [--clock SECONDS]
#          [--minutes N] [--npt 0|1] [PART...]
# NESTBOX names the program.
. "$(dirname "$0")/../systems/lib.sh"

starts=1000 l2_starts=100 l3_starts=10 entries=1000000 seed=$RANDOM clock=600 minutes=60 npt=1
parts=()
while [ $# -gt 0 ]; do
	case $1 in
	--starts | --l2-starts | --l3-starts | --entries | --seed | --clock | --minutes | --npt)
		[[ ${2:-} =~ ^[0-9]+$ ]] || fail "$1 wants a number"
		option=${1#--}
		printf -v "${option//-/_}" %s "$2"
		shift 2
		;;
	vmcbs | tiny | levels | clock | load)
		parts+=("$1")
		shift
		;;
	*) fail "\"$1\" is no part and no option; see the head of $0" ;;
	esac
done
[ ${#parts[@]} -gt 0 ] || parts=(vmcbs tiny levels clock load)
use_kernel

# What contexts of the vCPU lie in, KiB: CONTEXTS of struct context_block, src/cpu/tlb.h
contexts_size=$((96 * 580))

# KiB that the process has resident, guest RAM of so many MiB, translated code and contexts apart
resident() {
	awk -v ram=$(($1 * 1024)) -v contexts=$contexts_size '
		/^[0-9a-f]+-[0-9a-f]+ / { name = $6 }
		/^Size:/ { size = $2 }
		/^Pss:/ && name !~ /nestbox-code/ && !(name == "" && (size >= ram || size == contexts)) { sum += $2 }
		END { print sum + 0 }' "/proc/$pid/smaps"
}

# KiB of the contexts. Which of them are in use changes with what runs, a large page of the host at a time.
contexts() {
	awk -v contexts=$contexts_size '
		/^[0-9a-f]+-[0-9a-f]+ / { name = $6 }
		/^Size:/ { size = $2 }
		/^Pss:/ && name == "" && size == contexts { print $2 }' "/proc/$pid/smaps"
}

descriptors() { find "/proc/$pid/fd" -mindepth 1 2>/dev/null | wc -l; }

# flat NAME BEFORE AFTER SLACK
flat() {
	echo "soak: $1: $2 early, $3 at the end"
	[ "$3" -le $(($2 + $4)) ] || fail "$1 grew from $2 to $3"
}

# The same of the contexts: four large pages more are no growth, see contexts()
flat_contexts() {
	[ -n "$1" ] && [ -n "$2" ] || fail "no contexts found: are there other than $contexts_size KiB of them?"
	flat "KiB of contexts" "$1" "$2" 8192
}

# In L1 or deeper something went wrong
trouble() {
	grep -aqE 'ended with status [1-9]|Kernel panic|BUG:|Oops|soft lockup|Call Trace' "$log"
}

# ---- parts ----

soak_vmcbs() {
	local guest=$root/build/tests/guests/svm/svm_random_vmcbs.guest
	[ -e "$guest" ] || fail "no $guest: make"
	echo "soak: random VMCBs from seed $seed"
	start --kernel "$guest" --memory 128M --nested-hw-virt amd --debug-exit --no-reboot \
		--append "seed=$seed count=$entries"
	finish $((600 + entries / 200))
	tr -d '\r' <"$log" | tail -n 3
	expect_status 33 "the guest is content"
}

soak_tiny() {
	local early early_contexts early_descriptors
	mkdir -p "$dir/tree"
	gcc -O2 -Wall -Wextra -static -o "$dir/tree/tiny_vm" "$root/tests/soak/tiny_vm.c"
	make_initrd kvm-amd <<-END
		npt() { rmmod kvm_amd && insmod /lib/modules/kvm-amd.ko npt=\$1; }
		# as in the end: shadow paging uses more contexts
		/tiny_vm 20 && npt 0 && /tiny_vm 20 && echo "guest: warm"
		sleep 2
		npt 1 && /tiny_vm $starts && echo "guest: nested paging done"
		npt 0 && /tiny_vm $starts && echo "guest: shadow paging done"
		sleep 5
	END
	start --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --memory 512M --nested-hw-virt amd \
		--append "console=ttyS0 quiet panic=-1"
	wait_for 'guest: warm' 300
	sleep 1
	early=$(resident 512) early_contexts=$(contexts) early_descriptors=$(descriptors)
	wait_for 'guest: shadow paging done' $((120 + starts * 20))
	flat "KiB beside guest RAM" "$early" "$(resident 512)" 4096
	flat_contexts "$early_contexts" "$(contexts)"
	flat "descriptors" "$early_descriptors" "$(descriptors)" 0
	finish 120
	expect_status 0
	echo "soak: a tiny L2 started and stopped $starts times with npt=1 and npt=0 each"
}

ended() { grep -ac "L1: L2 ended with status 0" "$log" || true; }

# starts_of DEEPEST N: L1 starts the next level N times, each with all that is within it
starts_of() {
	local deepest=$1 count=$2 left=$((120 + $2 * 600))
	local early='' early_contexts early_descriptors late='' late_contexts late_descriptors
	local now now_contexts
	start_levels "$deepest" 800 "starts=$count"
	while kill -0 "$pid" 2>/dev/null; do
		! trouble || fail "something went wrong in start $(($(ended) + 1))"
		# the first ones fill what is kept
		if [ -z "$early" ] && [ "$(ended)" -ge 2 ]; then
			early=$(resident 800) early_contexts=$(contexts) early_descriptors=$(descriptors)
		fi
		# of a process that ends nothing is resident
		if [ "$(ended)" -ge $((count - 1)) ] && now=$(resident 800) && now_contexts=$(contexts) &&
			[ "$now" -gt 0 ] && [ -n "$now_contexts" ]; then
			late=$now late_contexts=$now_contexts late_descriptors=$(descriptors)
		fi
		left=$((left - 1))
		[ $left -gt 0 ] || fail "only $(ended) starts"
		sleep 1
	done
	finish 10
	expect_status 0
	[ "$(ended)" = "$count" ] || fail "$(ended) of $count starts"
	[ "$(grep -ac "L$deepest: user space after" "$log")" = "$count" ] || fail "not all L$deepest came up"
	if [ "$count" -ge 4 ]; then
		[ -n "$late" ] || fail "the last start was over before it was looked at"
		flat "KiB beside guest RAM" "$early" "$late" 8192
		flat_contexts "$early_contexts" "$late_contexts"
		flat "descriptors" "$early_descriptors" "$late_descriptors" 0
	fi
	echo "soak: L$deepest started $count times"
}

soak_levels() {
	starts_of 2 "$l2_starts"
	starts_of 3 "$l3_starts"
}

soak_clock() {
	local level
	start_levels 3 800 "clock=$clock"
	finish $((900 + clock))
	expect_status 0
	for level in 1 2 3; do
		check_clock $level 300
	done
}

# The nested load, one L2 after another
soak_load() {
	local end=$((SECONDS + minutes * 60)) samples=() half first second early_descriptors=''
	start --kernel "$vmlinuz" --initrd "$("$root/tools/l1-initrd.sh")" --memory 1G \
		--nested-hw-virt amd --append "console=ttyS0 quiet panic=-1 npt=$npt soak=1000000 work"
	while [ $SECONDS -lt $end ]; do
		kill -0 "$pid" 2>/dev/null || fail "L1 ended after $(ended) rounds"
		! trouble || fail "something went wrong in round $(ended)"
		if [ "$(ended)" -ge 2 ]; then
			samples+=("$(resident 1024)")
			[ -n "$early_descriptors" ] || early_descriptors=$(descriptors)
		fi
		sleep 5
	done
	[ ${#samples[@]} -ge 10 ] || fail "only $(ended) rounds: give more --minutes"
	# The second half must not lie above the first
	half=$((${#samples[@]} / 2))
	first=$(printf '%s\n' "${samples[@]:0:half}" | sort -n | tail -n 1)
	second=$(printf '%s\n' "${samples[@]:half}" | sort -n | tail -n 1)
	flat "KiB beside guest RAM, most of a half" "$first" "$second" 4096
	flat "descriptors" "$early_descriptors" "$(descriptors)" 0
	kill -TERM "$pid"
	finish 60
	expect_status 1 "stopped"
	echo "soak: $(ended) L2s in $minutes minutes"
}

for part in "${parts[@]}"; do
	soak_"$part"
done
pass "${parts[*]}"
