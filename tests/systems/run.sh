#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the system tests, or those that are named: run.sh [NAME...]. NESTBOX names the program.
# Ends with a line "systems: N passed, N failed, N skipped".
# shellcheck source=tools/common.sh
. "$(dirname "$0")/../../tools/common.sh"

here=$root/tests/systems
if [ $# -eq 0 ]; then
	for file in "$here"/*.sh; do
		name=$(basename "$file" .sh)
		case $name in lib | run) ;; *) set -- "$@" "$name" ;; esac
	done
fi
passed=0 failed=0 skipped=0
for name; do
	start=$SECONDS status=0
	output=$("$here/$name.sh" 2>&1) || status=$?
	printf '%s (%d s)\n' "$output" $((SECONDS - start))
	case $status in
	0) passed=$((passed + 1)) ;;
	77) skipped=$((skipped + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
done
echo "systems: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
