#!/bin/bash
# SPDX-License-Identifier: MIT
# Checks the floors of the house: a folder of src/ includes only itself and folders that stand above
# it (CONTRIBUTING.md). Every #include with quotes must name its folder.
set -euo pipefail
cd "$(dirname "$0")/../src"

declare -A may=(
	[base]=""
	[x86]="base"
	[mem]="x86 base"
	[cpu]="mem x86 base"
	[dev]="mem x86 base"
	[translate]="cpu mem x86 base"
	[virt]="cpu mem x86 base"
	[kvm]="virt translate cpu mem x86 base"
	[board]="dev translate virt cpu mem x86 base"
	[machine]="board dev kvm translate virt cpu mem x86 base"
	[cmd]="machine board dev kvm translate virt cpu mem x86 base"
)
bad=0
while IFS=: read -r file line text; do
	folder=${file%%/*}
	included=${text#*\"}
	included=${included%%\"*}
	target=${included%%/*}
	case $included in *.hex) continue ;; esac # made by the build, in the includer's folder
	if [ "$target" = "$included" ]; then
		echo "src/$file:$line: \"$included\" does not name its folder"
		bad=1
	elif [ "$target" != "$folder" ] && ! grep -qw -- "$target" <<<"${may[$folder]-}"; then
		echo "src/$file:$line: $folder/ may not include $target/"
		bad=1
	fi
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.[chS]' --include='*.def' . |
	sed 's|^\./||')
exit $bad
