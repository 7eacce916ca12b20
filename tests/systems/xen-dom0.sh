#!/bin/bash
# SPDX-License-Identifier: MIT
# Debian's Xen as L1, by multiboot, with Debian's kernel as a PV dom0. It finds AMD-V
# or VT-x and nested paging, and its tools start a PVH guest: L2 comes to its user space and powers
# off. Then dom0 does.
. "$(dirname "$0")/lib.sh"
use_kernel
xen=$("$root/tools/xen.sh")
tree=$dir/tree
for program in xl xenstored xenconsoled xen-init-dom0; do
	program=usr/lib/xen-4.17/bin/$program
	install -D "$xen/tree/$program" "$tree/$program"
	for library in $(LD_LIBRARY_PATH=$xen/tree/usr/lib/x86_64-linux-gnu ldd "$xen/tree/$program" |
		grep -o '/[^ ]*'); do
		[ -e "$tree/${library#"$xen/tree"}" ] ||
			install -D "$library" "$tree/${library#"$xen/tree"}"
	done
done
# threads that are cancelled load it by name
library=$(gcc -print-file-name=libgcc_s.so.1)
install -D "$library" "$tree/lib/x86_64-linux-gnu/libgcc_s.so.1"
mkdir -p "$tree/boot" "$tree/etc/xen" "$tree/run/xen" "$tree/run/lock" "$tree/var/log/xen/console" "$tree/var/lib/xen"
touch "$tree/etc/xen/xl.conf"
ln -s ../run "$tree/var/run"
ln -s ../run/lock "$tree/var/lock"
install -m 644 "$vmlinuz" "$tree/boot/vmlinuz"
install -m 644 "$("$root/tools/tiny-initrd.sh")" "$tree/boot/l2.cpio"
cat >"$tree/boot/l2.cfg" <<'END'
name = "l2"
type = "pvh"
kernel = "/boot/vmlinuz"
ramdisk = "/boot/l2.cpio"
extra = "console=hvc0 quiet marker=L2 demo"
memory = 160
END

make_initrd xenfs xen-privcmd xen-evtchn xen-gntdev xen-gntalloc <<'END'
export PATH=$PATH:/usr/lib/xen-4.17/bin
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t xenfs xenfs /proc/xen
echo "dom0: user space, $(cat /proc/xen/capabilities)"
xenstored
xen-init-dom0 >/dev/null
xenconsoled --log=guest
xl info | sed -n 's/^\(xen_version\|virt_caps\) */dom0: \1 /p'
xl create /boot/l2.cfg
echo "dom0: xl create: status $?"
# the daemon that xl leaves behind cleans up after the guest
tries=0
while xl domid l2 2>/dev/null | grep -q '^[0-9]' && [ $tries -lt 200 ]; do
	sleep 1
	tries=$((tries + 1))
done
sed 's/^/console: /' /var/log/xen/console/guest-l2.log
echo "dom0: domains:" $(xl list | cut -d ' ' -f 1)
END

# VENDOR and what Xen calls the unit
xen_finds() {
	run 500 --kernel "$xen/xen" --module "$vmlinuz,console=hvc0 quiet" --module "$dir/initrd.cpio" \
		--memory 1G --nested-hw-virt "$1" \
		--append "console=com1 com1=115200,8n1 loglvl=info dom0_mem=640M"
	expect "XEN.*HVM: $2 enabled" "Xen found no $2"
	expect 'XEN.*HVM: Hardware Assisted Paging \(HAP\) detected'
	expect 'dom0: user space, control_d'
	expect 'dom0: virt_caps.*hvm.*hap'
	expect 'dom0: xl create: status 0'
	expect 'console: .*L2: user space after' "$1: L2 did not come to its user space"
	expect 'console: .*L2: off'
	expect 'dom0: domains: Name Domain-0[[:cntrl:]]*$' "the guest is still there"
	expect_status 0 "dom0 powered off"
}

xen_finds amd SVM
xen_finds intel VMX
pass "a PV dom0 to its user space, and a PVH guest beside it, with AMD-V and with VT-x"
