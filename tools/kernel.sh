#!/bin/bash
# SPDX-License-Identifier: MIT
# Fetches Debian's kernel package and unpacks it, nothing installed. Prints the directory, which
# has boot/vmlinuz-VERSION, a link vmlinuz to it, and lib/modules.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

to=$cache/kernel
lock kernel
if [ ! -e "$to/vmlinuz" ]; then
	scratch_dir
	package=$(apt-cache depends linux-image-amd64 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*amd64\)$/\1/p' | head -n 1)
	if [ -z "$package" ]; then
		as_root apt-get update -qq >&2
		package=$(apt-cache depends linux-image-amd64 |
			sed -n 's/^ *Depends: \(linux-image-[0-9].*amd64\)$/\1/p' | head -n 1)
	fi
	[ -n "$package" ] || fail "no linux-image-amd64 in the package lists of apt"
	say "fetching $package"
	if ! (cd "$scratch" && apt-get download -qq -o APT::Sandbox::User=root "$package" >&2); then
		as_root apt-get update -qq >&2
		(cd "$scratch" && apt-get download -qq -o APT::Sandbox::User=root "$package" >&2)
	fi
	mkdir "$scratch/kernel"
	dpkg-deb -x "$scratch"/*.deb "$scratch/kernel"
	version=$(basename "$scratch"/kernel/lib/modules/*)
	ln -s "boot/vmlinuz-$version" "$scratch/kernel/vmlinuz"
	rm -rf "$to"
	mv "$scratch/kernel" "$to"
fi
echo "$to"
