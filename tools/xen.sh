#!/bin/bash
# SPDX-License-Identifier: MIT
# Fetches Debian's Xen with its tools and unpacks them, nothing installed. Prints the directory, which
# has xen, the hypervisor's ELF image, and below tree what the packages hold.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

to=$cache/xen
packages=(xen-hypervisor-4.17-amd64 xen-utils-4.17 libxenmisc4.17 libxencall1 libxendevicemodel1
	libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxenhypfs1 libxenstore4 libxentoolcore1
	libxentoollog1 libyajl2)
lock xen
if [ ! -e "$to/xen" ]; then
	scratch_dir
	mkdir -p "$scratch/xen/tree"
	say "fetching ${packages[0]} and its tools"
	if ! (cd "$scratch" && apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}" >&2); then
		as_root apt-get update -qq >&2
		(cd "$scratch" && apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}" >&2)
	fi
	for package in "$scratch"/*.deb; do
		dpkg-deb -x "$package" "$scratch/xen/tree"
	done
	gunzip -c "$scratch"/xen/tree/boot/xen-4.17-amd64.gz >"$scratch/xen/xen"
	rm -rf "$to"
	mv "$scratch/xen" "$to"
fi
echo "$to"
