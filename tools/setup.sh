#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs what nestbox needs from Debian: setup.sh build, setup.sh demo (building, and a VM in a VM),
# or setup.sh test (that, and what the tests use). Says what it does; does nothing when all is there.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

build=(gcc libc6-dev make meson ninja-build pkg-config libzydis-dev libslirp-dev libglib2.0-dev
	libcmocka-dev acpica-tools binutils)
demo=("${build[@]}" qemu-system-x86 seabios busybox-static cpio ca-certificates)
test=("${demo[@]}" clang libclang-rt-dev e2fsprogs kmod debootstrap openssh-client)
case ${1:-} in
build) packages=("${build[@]}") ;;
demo) packages=("${demo[@]}") ;;
test) packages=("${test[@]}") ;;
*) fail "say what for: build, demo or test" ;;
esac

missing=()
for package in "${packages[@]}"; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
say "installing by apt: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive \
	apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	fail "apt could not install them"
fi
