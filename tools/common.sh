# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What the scripts share. Sourced, never run. Everything that is fetched or made for tests lives in
# $cache, outside the tree; a thing there is complete or absent, since it is renamed into place.
set -euo pipefail

# shellcheck disable=SC2034 # for those who source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nestbox

say() { printf '%s\n' "$*" >&2; }
fail() {
	say "$(basename "$0"): $*"
	exit 1
}

# Runs a command as root: by sudo when we are not.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# A directory that goes away with the script.
scratch_dir() {
	mkdir -p "$cache"
	scratch=$(mktemp -d "$cache/tmp.XXXXXX")
	trap remove_scratch EXIT
}

remove_scratch() {
	chmod -R u+w "$scratch" 2>/dev/null
	rm -rf "$scratch" 2>/dev/null || as_root rm -rf "$scratch"
}

# Until the end of the script nobody else makes NAME.
lock() {
	mkdir -p "$cache"
	exec 9>"$cache/$1.lock"
	flock 9
}

# True when FILE is there and was made from these others as they are now: fresh FILE OTHER...
fresh() {
	[ -e "$1" ] && [ "$(cat "$1.from" 2>/dev/null)" = "$(fingerprint "${@:2}")" ]
}

# Notes what a file was made from.
made() { fingerprint "${@:2}" >"$1.from"; }

fingerprint() { cat "$@" | sha256sum; }

# Puts a program and the shared libraries that it needs below a directory, at their own paths, or
# the program at another: copy_program DIRECTORY PROGRAM [PATH].
copy_program() {
	local to=$1 program=$2 lib
	install -D "$program" "$to${3:-$program}"
	{ ldd "$program" 2>/dev/null || true; } | sed -n 's,^[^/]*\(/[^ ]*\).*,\1,p' | while read -r lib; do
		[ -e "$to$lib" ] || install -D "$lib" "$to$lib"
	done
}

# The tree below a directory as an uncompressed initrd: nothing is faster to unpack in a guest.
pack_initrd() {
	(cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
		cpio --quiet --null --create --format=newc --owner=0:0) >"$2.new"
	mv "$2.new" "$2"
}

# The files of a kernel module and of all that it depends on, in the order to load them: each names
# what it needs in its own text. modules_of KERNEL_DIRECTORY MODULE...
modules_of() {
	local kernel=$1 module
	shift
	for module; do module_and_needed "$kernel" "$module"; done | awk '!seen[$0]++'
}

module_and_needed() {
	local file needed
	file=$(find "$1/lib/modules" -name "$2.ko" -o -name "${2//_/-}.ko" | head -n 1)
	[ -n "$file" ] || fail "the kernel package has no module $2"
	for needed in $(tr '\0' '\n' <"$file" | sed -n 's/^depends=//p' | tr ',' ' '); do
		module_and_needed "$1" "$needed"
	done
	echo "$file"
}
