#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds the fuzzers with clang and runs each for FUZZ_SECONDS (60), two at a time. Ends with a line
# "fuzzers: N passed, N failed". What a fuzzer finds stays in build-fuzz/. FUZZ_SEED=0 is a new seed
# each time.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

seconds=${FUZZ_SECONDS:-60}
build=$root/build-fuzz
if [ ! -e "$build/build.ninja" ]; then
	CC=clang meson setup -Dfuzz=true -Db_lundef=false "$build" "$root" >/dev/null
fi
ninja -C "$build" >"$build/ninja.log" || { cat "$build/ninja.log"; exit 1; }

passed=0 failed=0
run_one() {
	local name=$1
	mkdir -p "$build/corpus/$name"
	cd "$build"
	"fuzz/$name" -max_total_time="$seconds" -seed="${FUZZ_SEED:-1}" -print_final_stats=1 -timeout=20 \
		-artifact_prefix="$build/$name-" "corpus/$name" >"$name.log" 2>&1
}
names=()
for program in "$build"/fuzz/fuzz_*; do
	if [ -f "$program" ] && [ -x "$program" ]; then
		names+=("$(basename "$program")")
	fi
done
for ((i = 0; i < ${#names[@]}; i += 2)); do
	pids=()
	for name in "${names[@]:i:2}"; do
		run_one "$name" &
		pids+=("$!:$name")
	done
	for pair in "${pids[@]}"; do
		name=${pair#*:}
		if wait "${pair%%:*}"; then
			runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$name.log")
			echo "$name: ${runs:-no} runs, nothing found"
			passed=$((passed + 1))
		else
			echo "$name: found something"
			tail -n 30 "$build/$name.log"
			failed=$((failed + 1))
		fi
	done
done
echo "fuzzers: $passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
