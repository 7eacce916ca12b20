#!/bin/bash
# SPDX-License-Identifier: MIT
# Makes a raw disk image with Debian 12 on one ext4 file system, no partitions: systemd, networkd,
# sshd, a console on the serial port; root's password is "nestbox" and the key that ssh wants lies
# beside the image. Nothing is mounted, no loop device is used. debootstrap has to think that it is
# root: in a user namespace where subordinate uids are to be had, else by sudo. Prints the
# directory, which has disk.img, initrd.img and ssh_key; the kernel is that of tools/kernel.sh.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

# Where this machine's apt gets Debian 12 from; on another distribution debootstrap's own default
mirror=${NESTBOX_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' \
	'Created-By: Packages' 2>/dev/null | awk '$2 == "bookworm" { print $1; exit }')}
size=1200M
packages=systemd-sysv,udev,openssh-server,kmod,iproute2,procps,dbus

# What root does: a system in an empty directory, then the image of it.
as_root_make() {
	local tree=$1 image=$2 key=$3 modules=$4
	debootstrap --variant=minbase --include="$packages" bookworm "$tree" ${mirror:+"$mirror"} \
		>"$image.log" 2>&1 || { tail -n 20 "$image.log" >&2; fail "debootstrap failed"; }
	rm "$image.log"

	rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* \
		"$tree"/var/log/bootstrap.log
	cp -r "$modules" "$tree/lib/"
	depmod -b "$tree" "$(basename "$modules"/*)"

	echo nestbox >"$tree/etc/hostname"
	echo '127.0.0.1 localhost nestbox' >"$tree/etc/hosts"
	echo '/dev/vda / ext4 errors=remount-ro 0 1' >"$tree/etc/fstab"
	printf '[Match]\nType=ether\n\n[Network]\nDHCP=ipv4\n' \
		>"$tree/etc/systemd/network/wired.network"
	chroot "$tree" systemctl enable -q systemd-networkd serial-getty@ttyS0 ssh
	# Timers whose work is for machines that live for more than a minute
	chroot "$tree" systemctl mask -q apt-daily.timer apt-daily-upgrade.timer \
		dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
	echo root:nestbox | chroot "$tree" chpasswd
	install -d -m 700 "$tree/root/.ssh"
	install -m 600 "$key.pub" "$tree/root/.ssh/authorized_keys"

	truncate -s "$size" "$image"
	mke2fs -q -t ext4 -L nestbox -d "$tree" "$image"
	# So that whoever asked can remove it all
	chown "$(stat -c %u:%g "$key")" "$image"
	find "$tree" -mindepth 1 -xdev -delete
}

if [ "${1:-}" = --as-root ]; then
	shift
	as_root_make "$@"
	exit 0
fi

to=$cache/debian
lock debian
from=("$0" "$root/tools/initrd/disk-init")
if ! fresh "$to/disk.img" "${from[@]}"; then
	scratch_dir
	kernel=$("$root/tools/kernel.sh")
	version=$(basename "$kernel"/lib/modules/*)
	command -v debootstrap >/dev/null || PATH=$PATH:/usr/sbin:/sbin
	for program in debootstrap mke2fs depmod ssh-keygen; do
		command -v "$program" >/dev/null || fail "$program is missing: tools/setup.sh test"
	done
	say "making a Debian 12 disk image: a few minutes, once"
	mkdir -p "$scratch/debian" "$scratch/tree" "$scratch/lib/modules/$version"

	# The modules of a machine that has virtio devices, and KVM
	for module in $(modules_of "$kernel" virtio_pci virtio_blk virtio_net virtio_console \
		virtio-rng ext4 crc32c_generic autofs4 fuse configfs kvm-amd); do
		install -D -m 644 "$module" "$scratch/lib/${module#"$kernel/lib/"}"
	done
	cp "$kernel/lib/modules/$version"/modules.* "$scratch/lib/modules/$version/"

	ssh-keygen -q -t ed25519 -N '' -C nestbox-test -f "$scratch/debian/ssh_key"
	arguments=(--as-root "$scratch/tree" "$scratch/debian/disk.img" "$scratch/debian/ssh_key"
		"$scratch/lib/modules")
	if [ "$(id -u)" = 0 ]; then
		"$0" "${arguments[@]}"
	elif unshare --map-root-user --map-auto --mount --pid --fork true 2>/dev/null; then
		# debootstrap cannot make device nodes there; told that it is in a container, it does
		# without. The outer uid 0 of the tree is a subordinate uid of ours.
		chmod 755 "$scratch"
		unshare --map-root-user --map-auto --mount --pid --fork --mount-proc \
			env container=lxc PATH="$PATH" "$0" "${arguments[@]}"
	else
		sudo env PATH="$PATH" NESTBOX_MIRROR="$mirror" "$0" "${arguments[@]}"
	fi

	tree=$scratch/initrd
	mkdir -p "$tree"/{bin,lib/modules,proc,dev,root}
	install "$(command -v busybox)" "$tree/bin/busybox"
	install "$root/tools/initrd/disk-init" "$tree/init"
	for module in $(modules_of "$kernel" virtio_pci virtio_blk crc32c_generic ext4); do
		install -m 644 "$module" "$tree/lib/modules/"
		echo "/lib/modules/$(basename "$module")" >>"$tree/modules.list"
	done
	pack_initrd "$tree" "$scratch/debian/initrd.img"
	made "$scratch/debian/disk.img" "${from[@]}"
	rm -rf "$to"
	mv "$scratch/debian" "$to"
fi
echo "$to"
