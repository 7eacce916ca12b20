#!/bin/bash
# SPDX-License-Identifier: MIT
# Disk and network of a Linux guest on the KVM engine, inside the soft engine's L1: files by
# checksum and HTTP both ways, on one vCPU and on two, over resets, and after a kill in the middle.
. "$(dirname "$0")/lib.sh"
use_kernel
make_end_guest

# L2: what it does is on its command line
make_initrd virtio_pci virtio_blk virtio_net <<'END'
ifconfig lo up
ifconfig eth0 10.0.3.15 up
case $(cat /proc/cmdline) in
*do=resets*)
	boots=$(dd if=/dev/vda bs=1 count=1 2>/dev/null | tr '\0' 0)
	ping -c 3 -i 0.1 -q 10.0.3.2 >/dev/null && echo "L2: boot $boots: the network answers"
	if [ "$boots" -lt 2 ]; then
		printf $((boots + 1)) | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null
		# In the middle of it all, and no driver is asked before
		while dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null; do :; done &
		ping -i 0.01 -q 10.0.3.2 >/dev/null &
		usleep 200000
		echo b >/proc/sysrq-trigger
		sleep 60
	fi
	exit
	;;
*do=write*)
	echo "L2: writes without end"
	while dd if=/dev/zero of=/dev/vda bs=64k conv=fsync,notrunc 2>/dev/null; do :; done
	exit
	;;
esac
echo "L2: $(nproc) CPUs"
echo "L2: interrupts by message: $(grep -c virtio /proc/interrupts)"
sha256sum </dev/vda | sed 's/^/L2: read /'
last=$(($(nproc) - 1))
taskset $((1 << last)) dd if=/dev/urandom of=/tmp/new bs=1M count=8 2>/dev/null
taskset $((1 << last)) dd if=/tmp/new of=/dev/vda bs=1M conv=notrunc,fsync 2>/dev/null
sha256sum </tmp/new | sed 's/^/L2: wrote /'
wget -q -O /tmp/page http://10.0.3.2:8080/page && sha256sum </tmp/page | sed 's/^/L2: got /'
ping -c 10000 -A -w 100 -q 10.0.3.2 | grep transmitted | sed 's/^/L2: /'
mkdir /tmp/www
cp /tmp/new /tmp/www/new
httpd -h /tmp/www -p 80
echo "L2: serves"
until wget -q -O /dev/null http://10.0.3.2:8080/done; do usleep 100000; done
END
mv "$dir/initrd.cpio" "$dir/l2.cpio"

begin_l1_tree "$dir/l2.cpio" "$dir/end.guest"
make_initrd kvm-amd <<END
ifconfig lo up
mkdir /tmp/www
head -c 3000000 /dev/urandom >/tmp/www/page
httpd -h /tmp/www -p 8080
sum() { sha256sum <"\$1" | cut -c 1-64; }
# In a shell of its own, which becomes nestbox
inner() {
	exec $program run --engine kvm --memory 192M --kernel /boot/vmlinuz --initrd /boot/l2.cpio \
		--disk /tmp/disk --append "console=ttyS0 quiet \$1" --net "\$2" --cpus "\$3" --stats
}
for cpus in 1 2; do
	log=/tmp/log\$cpus
	>\$log
	# What L2 says is seen as it says it
	tail -f \$log &
	rm -f /tmp/www/done
	head -c 8388608 /dev/urandom >/tmp/disk
	before=\$(sum /tmp/disk)
	inner do=all user,hostfwd=tcp:127.0.0.1:8090-:80 \$cpus </dev/null >\$log 2>&1 &
	pid=\$!
	until grep -q 'L2: serves' \$log; do
		kill -0 \$pid || break
		usleep 200000
	done
	wget -q -O /tmp/back http://127.0.0.1:8090/new
	touch /tmp/www/done
	wait \$pid
	echo "L1: \$cpus CPUs: status \$?"
	grep -q "L2: \$cpus CPUs" \$log && echo "L1: \$cpus CPUs: all there"
	grep -q "L2: read \$before" \$log && echo "L1: \$cpus CPUs: read right"
	grep -q "L2: wrote \$(sum /tmp/disk)" \$log && echo "L1: \$cpus CPUs: written right"
	grep -q "L2: got \$(sum /tmp/www/page)" \$log && echo "L1: \$cpus CPUs: fetched right"
	[ "\$(sum /tmp/back)" = "\$(sum /tmp/disk)" ] && echo "L1: \$cpus CPUs: served right"
	# Each of the ten thousand pings is a write to a doorbell, and a disk's requests come on top; a boot
	# by itself leaves a thousand times or so
	exits=\$(awk '/exits 06 MMIO/ { n += \$4 } END { print n }' \$log)
	[ "\$exits" -lt 5000 ] && echo "L1: \$cpus CPUs: doorbells ring without exits"
	rm /tmp/back
done
printf 0 | dd of=/tmp/disk conv=notrunc 2>/dev/null
(inner do=resets user 2 </dev/null)
echo "L1: resets: status \$?"
inner do=write user 1 </dev/null >/tmp/log 2>&1 &
until grep -q 'L2: writes' /tmp/log; do
	kill -0 \$! || break
	usleep 200000
done
sleep 1
kill -KILL \$!
wait \$!
echo "L1: killed in the middle"
$program run --engine kvm --memory 16M --kernel /boot/end.guest --append d --debug-exit \
	--disk /tmp/disk </dev/null
echo "L1: another machine: status \$?"
dmesg | grep -E 'BUG|WARNING|Oops|rcu.*stall' && echo "L1: the kernel complains"
END

run 600 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --memory 1G --nested-hw-virt amd \
	--append "console=ttyS0 quiet"
for cpus in 1 2; do
	expect "L1: $cpus CPUs: status 0"
	for what in 'all there' 'read right' 'written right' 'fetched right' 'served right' \
		'doorbells ring without exits'; do
		expect "L1: $cpus CPUs: $what"
	done
done
expect 'L2: 10000 packets transmitted, 10000 packets received'
for boot in 0 1 2; do
	expect "L2: boot $boot: the network answers"
done
expect 'L1: resets: status 0'
expect 'L1: killed in the middle'
expect 'L1: another machine: status 85'
! grep -aq 'L1: the kernel complains' "$log" || fail "L1's kernel complains"
expect_status 0 "L1 powered off"
pass "disk and network on KVM inside the soft engine's L1, with two vCPUs, over resets and a kill"
