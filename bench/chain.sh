# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Machines in machines for the benches that look into each level: nestbox as L0, below it nestbox on
# the KVM of the level above. Sourced after tools/common.sh, with $scratch there.

# chain_initrd VENDOR NESTBOX: makes $scratch/l1.cpio, which has those of L2 and L3 within. L1's kernel
# is told by words of its command line what the levels are to do:
#   deepest=N            how many there are
#   exits=yes            each but the deepest runs /boot/exits.guest in the next: $scratch/exits.guest
#   work=SECONDS,PART... the deepest runs these parts of bench/work.c, each for so long
chain_initrd() {
	local vendor=$1 nestbox=$2 tree=$scratch/tree kernel level file
	kernel=$("$root/tools/kernel.sh")
	mkdir -p "$tree"/{bin,boot,dev,proc,sys,tmp,lib/modules,usr/bin}
	install "$(command -v busybox)" "$tree/bin/busybox"
	install -m 644 "$kernel/vmlinuz" "$tree/boot/"
	[ ! -e "$scratch/exits.guest" ] || install -m 644 "$scratch/exits.guest" "$tree/boot/"
	gcc -O2 -static -o "$tree/bin/work" "$root/bench/work.c" -lm
	copy_program "$tree" "$nestbox" /usr/bin/nestbox
	for file in $(modules_of "$kernel" "kvm-$vendor"); do
		install -m 644 "$file" "$tree/lib/modules/"
		echo "/lib/modules/$(basename "$file")" >>"$tree/modules.list"
	done
	chain_init "$vendor" >"$tree/init"
	chmod +x "$tree/init"
	pack_initrd "$tree" "$scratch/l3.cpio"
	for level in 2 1; do
		mv "$scratch/l$((level + 1)).cpio" "$tree/boot/next.cpio"
		pack_initrd "$tree" "$scratch/l$level.cpio"
	done
}

chain_init() {
	cat <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
echo madvise >/sys/kernel/mm/transparent_hugepage/enabled
echo 0 >/proc/sys/kernel/randomize_va_space # a program's addresses are the same in every level
level=1
for word in \$(cat /proc/cmdline); do
	case \$word in
	level=* | deepest=* | exits=* | work=*) eval "\$word" ;;
	esac
done
next=\$((level + 1))
if [ \$level -lt \$deepest ]; then
	while read -r module; do insmod "\$module"; done </modules.list
	[ "\$exits" != yes ] || nestbox run --engine kvm --memory 128M --kernel /boot/exits.guest \
		--debug-exit --no-reboot --append L\$next </dev/null
	nested=--nested-hw-virt=$1
	[ \$next -lt \$deepest ] || nested=
	if [ \$next -lt \$deepest ] || [ -n "\$work" ]; then
		nestbox run --engine kvm --memory \$((1024 >> level))M --kernel /boot/vmlinuz \
			--initrd /boot/next.cpio \$nested --append "console=ttyS0 quiet level=\$next \
			deepest=\$deepest exits=\$exits work=\$work" </dev/null
	fi
elif [ -n "\$work" ]; then
	work L\$level --seconds \$(echo "\$work" | tr , ' ')
fi
echo "L\$level: done"
poweroff -f
END
}

# chain_machine VMM LOG MEMORY VENDOR OPTION...: one machine under nestbox ($nestbox) or QEMU's
# translator, to its end; what it prints goes to LOG.
chain_machine() {
	local vmm=$1 log=$2 memory=$3 vendor=$4 status=0
	shift 4
	if [ "$vmm" = nestbox ]; then
		set -- "$nestbox" run --engine soft --memory "$memory" --nested-hw-virt "$vendor" \
			--debug-exit --no-reboot "${@/#-/--}"
	else
		set -- qemu-system-x86_64 -accel tcg -cpu max -m "$memory" -nodefaults -no-user-config \
			-display none -no-reboot -serial stdio -device isa-debug-exit,iobase=0xf4 "$@"
	fi
	"$@" </dev/null >"$log" 2>&1 || status=$?
	# 33 is what the bare-metal guests say by the debug-exit port when all is well
	[ $status = 0 ] || [ $status = 33 ] || { tail -n 20 "$log" >&2; fail "$vmm: status $status, see above"; }
}

# chain_boot VMM LOG VENDOR WORD...: L1 with these words on its command line, to the end of all levels.
chain_boot() {
	local vmm=$1 log=$2 vendor=$3 kernel
	shift 3
	kernel=$("$root/tools/kernel.sh")
	chain_machine "$vmm" "$log" 1024M "$vendor" -kernel "$kernel/vmlinuz" -initrd "$scratch/l1.cpio" \
		-append "console=ttyS0 quiet panic=-1 $*"
	chain_complete "$vmm" "$log"
}

# chain_start LOG VENDOR WORD...: the same under nestbox in the background, as $chain_pid.
chain_start() {
	local log=$1 vendor=$2 kernel
	shift 2
	kernel=$("$root/tools/kernel.sh")
	: >"$log"
	"$nestbox" run --engine soft --memory 1024M --nested-hw-virt "$vendor" --no-reboot \
		--kernel "$kernel/vmlinuz" --initrd "$scratch/l1.cpio" \
		--append "console=ttyS0 quiet panic=-1 $*" </dev/null >"$log" 2>&1 &
	chain_pid=$!
}

# chain_end PID LOG: waits for the end of what chain_start began
chain_end() {
	wait "$1" || { tail -n 20 "$2" >&2; fail "nestbox: status $?, see above"; }
	chain_complete nestbox "$2"
}

chain_complete() {
	grep -aq "L1: done" "$2" || { tail -n 20 "$2" >&2; fail "$1: L1 did not come to its end"; }
}
