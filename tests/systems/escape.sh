#!/bin/bash
# SPDX-License-Identifier: MIT
# nestbox in nestbox on one terminal: each has an escape key of its own, what is not its own goes
# further in, and each says which it is and how deep.
. "$(dirname "$0")/lib.sh"
command -v script >/dev/null || skip "no script(1)"
use_kernel
program=$(realpath "$nestbox")

# L2 shows what keys it gets, and what a nestbox in it would have for an escape
tree=$dir/tree
mkdir -p "$tree"
copy_program "$tree" "$program"
ln -s "$program" "$tree/nestbox"
make_initrd <<'END'
/nestbox run --help | sed -n 's/.*terminal: \(.*\) quits.*/L2: \1 would quit/p'
/nestbox nonsense 2>&1
/nestbox host | sed -n 's/^Machine */L2: is /p'
stty raw -echo
echo "L2: keys"
# the pieces of what is typed, quit by "q"
while key=$(dd bs=1 count=1 2>/dev/null | od -An -tx1 | tr -d ' \n') && [ "$key" != 71 ]; do
	printf 'L2: key %s\r\n' "$key"
done
END
mv "$dir/initrd.cpio" "$dir/l2.cpio"
rm -r "$tree"

mkdir -p "$tree/boot"
copy_program "$tree" "$program"
ln -s "$program" "$tree/nestbox"
install -m 644 "$vmlinuz" "$tree/boot/vmlinuz"
install -m 644 "$dir/l2.cpio" "$tree/boot/"
make_initrd kvm-amd <<'END'
inner="--memory 192M --kernel /boot/vmlinuz --initrd /boot/l2.cpio --append console=ttyS0\ quiet"
echo "L1: one"
eval /nestbox run --engine kvm $inner
echo "L1: one: status $?"
eval /nestbox run --engine kvm --escape Ctrl-] $inner
echo "L1: two: status $?"
sleep 1000
END

mkfifo "$dir/keys"
cat >"$dir/session" <<END
"$nestbox" run --engine soft --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --memory 640M \
	--nested-hw-virt amd --append "console=ttyS0 quiet"
echo "L0: status \$?"
END
script -qec "bash $dir/session" /dev/null <"$dir/keys" >"$log" 2>&1 &
pid=$!
started+=("$pid")
exec 8>"$dir/keys"
keys() { printf "$1" >&8; }

wait_for 'L1: one' 120
wait_for '^nestbox \(L1\): inside another nestbox; the escape key of this one is Ctrl-B' 60
wait_for 'L2: keys' 120
expect 'L2: Ctrl-T X would quit' "a nestbox in L2 does not see that it is at level 2"
expect '^nestbox \(L2\): nonsense: is no verb'
expect 'L2: is a virtual machine of nestbox, level 2, engine kvm'
keys '\001h'
wait_for '^nestbox: Ctrl-A X quits, Ctrl-A H shows this, Ctrl-A A sends Ctrl-A' 20
keys '\002h'
wait_for '^nestbox \(L1\): Ctrl-B X quits, Ctrl-B H shows this, Ctrl-B B sends Ctrl-B' 20
! grep -aq 'L2: key ' "$log" || fail "a command's keys went to L2"
keys '\001a'
wait_for 'L2: key 01' 20
keys '\002b'
wait_for 'L2: key 02' 20
keys '\024'
wait_for 'L2: key 14' 20
keys '\002x'
wait_for 'L1: one: status 1' 20

# Another key by --escape: no word about it, and Ctrl-B is L2's
second() { tr '\n' ' ' <"$log" | sed 's/.*one: status 1//'; }
tries=600
until second | grep -aq 'L2: keys'; do
	[ $((tries -= 1)) -gt 0 ] || fail "the second L2 does not come up"
	sleep 0.2
done
! second | grep -aq 'inside another' || fail "--escape was given, and yet it tells of one"
keys '\002'
tries=100
until second | grep -aq 'L2: key 02'; do
	[ $((tries -= 1)) -gt 0 ] || fail "Ctrl-B does not reach L2 when the escape is Ctrl-]"
	sleep 0.2
done
keys '\035h'
wait_for '^nestbox \(L1\): Ctrl-] X quits, Ctrl-] H shows this, Ctrl-] ] sends Ctrl-]' 20
keys '\035x'
wait_for 'L1: two: status 1' 20
keys '\001x'
wait_for 'L0: status 1' 20
exec 8>&-
finish 20
pass "Ctrl-A is the outer's, Ctrl-B the inner's, and both reach L2 when they are meant to"
