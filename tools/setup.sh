#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs what nestbox needs from Debian: setup.sh build, or setup.sh test (building, and what the
# tests and the demo use). Says what it does; does nothing when all is there.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

build=(gcc make meson ninja-build pkg-config libzydis-dev libslirp-dev acpica-tools binutils)
test=("${build[@]}" clang qemu-system-x86 seabios busybox-static cpio e2fsprogs debootstrap
	openssh-client)
case ${1:-} in
build) packages=("${build[@]}") ;;
test) packages=("${test[@]}") ;;
*) fail "say what for: build or test" ;;
esac

missing=()
for package in "${packages[@]}"; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
say "installing: ${missing[*]}"
as_root apt-get update -q
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
	"${missing[@]}"
