#!/bin/bash
# SPDX-License-Identifier: MIT
# nestbox host tells the truth: here, and in L1 with KVM in each state that it can be in. What it
# says of an engine is what nestbox run then does, and its JSON is JSON.
. "$(dirname "$0")/lib.sh"
use_kernel
program=$(realpath "$nestbox")
make_end_guest

# ---- here ----
"$nestbox" host >"$log" || fail "no engine works here?"
expect '^CPU  +.* \([A-Za-z ]+\), family [0-9]+, model [0-9]+'
expect '^Engine soft works: up to [0-9]+ CPU'
expect '^Engine kvm +(works|no: .)'
! grep -aqE 'no: *$|greyed' "$log" || fail "a no without its reason"
if grep -qw hypervisor /proc/cpuinfo; then expect '^Machine +a virtual machine of'; else expect '^Machine +no virtual machine'; fi
"$nestbox" host --json >"$dir/here.json" || fail "--json has another status"
auto=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["auto"])' <"$dir/here.json")
expect "^nestbox run takes the engine $auto here"
status=0
"$nestbox" run --kernel "$dir/end.guest" --memory 16M --append d --debug-exit >"$log" 2>&1 </dev/null || status=$?
expect_status 85 "a machine on the engine that auto takes"
expect "engine $auto: "
for word in --jsno extra; do
	status=0
	"$nestbox" host $word >"$log" 2>&1 || status=$?
	expect_status 2 "host $word"
	[ "$(wc -l <"$log")" = 1 ] || fail "not one line: host $word"
done
"$nestbox" host --help | grep -q 'Exit status' || fail "host --help"

# ---- in L1 ----
tree=$dir/tree
mkdir -p "$tree"/{boot,etc}
copy_program "$tree" "$program"
ln -s "$program" "$tree/nestbox"
install -m 644 "$dir/end.guest" "$tree/boot/end.guest"
printf 'root:x:0:0::/:/bin/sh\nsomeone:x:1000:1000::/:/bin/sh\n' >"$tree/etc/passwd"
printf 'root:x:0:\nkvm:x:107:\n' >"$tree/etc/group"
make_initrd kvm-amd <<'END'
# What host says, and a run of the same machine on KVM
look() {
	/nestbox host >/tmp/text
	echo "$1: status $?"
	sed "s/^/$1: /" /tmp/text
	echo "$1: json"
	/nestbox host --json
	echo "$1: end"
	shift
	/nestbox run --engine kvm "$@" --memory 16M --kernel /boot/end.guest --append d --debug-exit \
		</dev/null
	echo "run: status $?"
}
read -r words </proc/cmdline
case $words in
*bare*)
	look bare
	exit
	;;
esac
look loaded --nested-hw-virt amd
chgrp 107 /dev/kvm
chmod 660 /dev/kvm
mkfifo /tmp/go
su someone -c "/nestbox host" | sed 's/^/user: /'
# someone's session begins before the group has a new member
chmod 777 /tmp
su someone -c "touch /tmp/began; read go; /nestbox host" </tmp/go >/tmp/member &
exec 3>/tmp/go
until [ -e /tmp/began ]; do sleep 0.1; done
sed -i 's/^kvm.*/kvm:x:107:other,someone/' /etc/group
echo >&3
wait
sed 's/^/member: /' /tmp/member
su someone -c "/nestbox host" | sed 's/^/again: /'
chmod 600 /dev/kvm
su someone -c "/nestbox host" | sed 's/^/closed: /'
touch /.dockerenv
su someone -c "/nestbox host" | sed 's/^/container: /'
rm /.dockerenv
rmmod kvm-amd
look unloaded
insmod /lib/modules/kvm-amd.ko nested=0
look nested0 --nested-hw-virt amd
rmmod kvm-amd
insmod /lib/modules/kvm-amd.ko npt=0
look npt0 --nested-hw-virt amd
END

# inside NAME: python that asserts something of the JSON of one look, which is in j; kvm is its engine
inside() {
	python3 - "$1" "$log" <<-END || fail "the JSON of $1: see above"
		import json, sys
		text = open(sys.argv[2], encoding="latin-1").read().replace("\r", "")
		j = json.loads(text.split(sys.argv[1] + ": json\n")[1].split(sys.argv[1] + ": end")[0])
		soft, kvm = j["engines"]
		assert (soft["name"], kvm["name"], j["format"]) == ("soft", "kvm", 1)
		assert j["hypervisor"] == "nestbox" and j["level"] == 1 and j["outer_engine"] == "soft"
		for engine in soft, kvm:
		    assert engine["works"] or engine["why"]
		    for unit in engine["nested"].values():
		        assert unit["given"] or unit["why"]
		assert soft["works"] and soft["nested"]["amd"]["given"]
		$2
	END
}

run 300 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --memory 512M --nested-hw-virt amd \
	--append "console=ttyS0 quiet"
expect_status 0 "L1 powered off"
expect 'loaded: Machine +a virtual machine of nestbox, level 1, engine soft'
expect 'loaded: Engine kvm  works: up to [0-9]+ CPUs'
expect 'loaded:   AMD-V +yes: --nested-hw-virt amd'
expect 'loaded:   VT-x +no: KVM gives guests AMD-V only'
expect 'loaded: nestbox run takes the engine kvm'
inside loaded 'assert j["auto"] == "kvm" and kvm["nested"]["amd"]["given"] and not kvm["slow"]
assert j["cpu"]["features"]["svm"] and j["cpu"]["features"]["npt"] and j["kvm"]["modules"] == ["kvm", "kvm_amd"]
assert j["kvm"]["parameters"]["kvm_amd.nested"] == "1" and j["kvm"]["device"]["opens"]'
expect 'user: Engine kvm  no: /dev/kvm: Permission denied'
expect 'user: +to mend it: as root: usermod -aG kvm someone, then log in again'
expect 'user: nestbox run takes the engine soft'
expect 'member: +to mend it: log in again, or: newgrp kvm'
expect 'again: Engine kvm  works'
expect 'closed: +to mend it: as root: chgrp kvm /dev/kvm && chmod g\+rw /dev/kvm && usermod -aG kvm someone'
expect 'container: +to mend it: outside of the container \(docker\), as root: chmod'
expect 'unloaded: status 0'
expect 'unloaded: /dev/kvm +is not there'
expect 'unloaded: Engine kvm  no: /dev/kvm: No such'
expect 'unloaded: +to mend it: as root: modprobe kvm_amd'
inside unloaded 'assert j["auto"] == "soft" and not kvm["works"] and kvm["repair"] == "as root: modprobe kvm_amd"
assert not j["kvm"]["device"]["exists"] and j["kvm"]["modules"] == ["kvm"]'
expect 'nested0: Engine kvm  works'
expect "nested0:   AMD-V +no: KVM on this host gives guests no AMD-V: kvm_amd's parameter nested is off"
expect 'nested0: +to mend it: as root: modprobe -r kvm_amd && modprobe kvm_amd nested=1'
inside nested0 'assert kvm["works"] and not kvm["nested"]["amd"]["given"]
assert j["kvm"]["parameters"]["kvm_amd.nested"] == "0"'
expect "npt0:   speed +no: KVM's guests are slow: nested paging is off \(kvm_amd's parameter npt\)"
inside npt0 'assert kvm["works"] and "npt=1" in kvm["slow_repair"]'
# what was said is what a machine meets: loaded, unloaded, nested0, npt0
[ "$(grep -a '^run: status' "$log" | tr -dc '0-9\n' | tr '\n' ' ')" = "85 2 2 85 " ] ||
	fail "machines do not end as host said: $(grep -a '^run: status' "$log")"

run 120 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --memory 256M --append "console=ttyS0 quiet bare"
expect_status 0 "L1 without AMD-V powered off"
expect 'bare: Engine kvm  no: .*neither VT-x nor AMD-V, since this is a virtual machine \(nestbox\)'
# a CPU without either unit shows the host's vendor
if grep -q GenuineIntel /proc/cpuinfo; then unit=intel; else unit=amd; fi
expect "bare: +to mend it: start this machine with: nestbox run --nested-hw-virt $unit"
inside bare 'assert j["auto"] == "soft" and not j["cpu"]["features"]["svm"] and not kvm["works"]'
pass "the truth about this host, and about KVM in five states inside L1; JSON parses"
