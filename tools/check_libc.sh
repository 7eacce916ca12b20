#!/bin/bash
# SPDX-License-Identifier: MIT
# Checks the objects of code that runs while the guest's vector registers are in the host's: they
# must not use vector registers, and must not call what in libc may (memcpy and its like have
# versions with AVX). check_libc.sh ARCHIVE...
set -euo pipefail

bad=0
for archive; do
	while read -r symbol; do
		case $symbol in
		memfd_create | "") ;;
		mem* | str* | bcopy | bzero | qsort | __mem* | __str*)
			echo "$archive: calls $symbol, which may use vector registers"
			bad=1
			;;
		esac
	done < <(nm --undefined-only "$archive" 2>/dev/null | awk '$1 == "U" { print $2 }' | sort -u)
	if objdump -d --no-show-raw-insn "$archive" | grep -E '%(xmm|ymm|zmm)[0-9]' |
		head -n 5 | grep .; then
		echo "$archive: uses vector registers"
		bad=1
	fi
done
exit $bad
