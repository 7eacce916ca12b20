#!/bin/bash
# SPDX-License-Identifier: MIT
# make test: installs what is missing, builds, runs all tests, and ends with one line that counts
# them. Parts may be left out while one works: SKIP="compare systems fuzz" make test. COMPARE is the
# number of sequences of the instruction comparison, 2000000 if not given, and SEED where they begin:
# the same ones each time, so that a red run is the change's; other seeds are tried by hand.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

build=${BUILD:-$root/build}
passed=0 failed=0

wanted() { [[ " ${SKIP:-} " != *" $1 "* ]]; }

# One test that is one command.
check() {
	local name=$1 start=$SECONDS
	shift
	if "$@" >"$scratch/log" 2>&1; then
		passed=$((passed + 1))
		echo "ok    $name ($((SECONDS - start)) s)"
	else
		failed=$((failed + 1))
		echo "FAIL  $name ($((SECONDS - start)) s)"
		tail -n "${lines:-60}" "$scratch/log"
	fi
}

# A part that counts for itself, by the line "NAME: N passed, N failed" at its end.
part() {
	local name=$1 start=$SECONDS line status=0
	shift
	"$@" 2>&1 | tee "$scratch/log" || status=$?
	line=$(grep -aE "^$name: [0-9]+ passed, [0-9]+ failed" "$scratch/log" | tail -n 1 || true)
	if [ -z "$line" ]; then
		echo "FAIL  $name did not come to its end (status $status)"
		failed=$((failed + 1))
		return
	fi
	[[ $line =~ ([0-9]+)\ passed,\ ([0-9]+)\ failed ]]
	passed=$((passed + BASH_REMATCH[1]))
	failed=$((failed + BASH_REMATCH[2]))
	echo "      $name: $((SECONDS - start)) s"
}

meson_tests() {
	local log=$build/meson-logs/testlog.json good bad
	meson test -C "$build" --no-rebuild --print-errorlogs --num-processes "$(nproc)" || true
	good=$(grep -c '"result": "OK"' "$log" || true)
	bad=$(grep -cE '"result": "(FAIL|TIMEOUT|ERROR|INTERRUPT)"' "$log" || true)
	echo "meson: $good passed, $bad failed"
}

"$root/tools/setup.sh" test
scratch_dir
[ -e "$build/build.ninja" ] || meson setup "$build" "$root"
ninja -C "$build"
ln -sf src/cmd/nestbox "$build/nestbox"
export NESTBOX=$build/nestbox

check "floors" "$root/tools/floors.sh"
check "no vector registers in guest context" "$root/tools/check_libc.sh" \
	"$build"/src/cpu/libcpu.a "$build"/src/virt/libvirt.a "$build"/src/translate/libtranslate_runtime.a
part meson meson_tests
if wanted compare; then
	lines=200 check "instructions against the host CPU" \
		"$build/tests/compare/compare" --seed "${SEED:-2}" --count "${COMPARE:-2000000}"
	head -n 1 "$scratch/log"
fi
wanted systems && part systems "$root/tests/systems/run.sh"
wanted fuzz && part fuzzers "$root/tools/fuzz.sh"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
