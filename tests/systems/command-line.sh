#!/bin/bash
# SPDX-License-Identifier: MIT
# Wrong command lines: one line that names the option, exit 2, and nothing was created.
. "$(dirname "$0")/lib.sh"
make_end_guest
guest=$dir/end.guest
use_kernel
mkdir "$dir/directory" "$dir/empty"
printf 'no kernel at all' >"$dir/text"
: >"$dir/nothing"
head -c 100000 "$vmlinuz" >"$dir/short"
truncate -s 2G "$dir/large"
truncate -s 1M "$dir/disk"
install -m 000 /dev/null "$dir/unreadable"
count=0

# wrong OPTION WORD ARGUMENT...: the line has OPTION and WORD
wrong() {
	local option=$1 word=$2 before after
	shift 2
	before=$(ls "$dir/empty")
	status=0
	(cd "$dir/empty" && timeout 20 "$nestbox" "$@" </dev/null >"$dir/out" 2>"$log") || status=$?
	after=$(ls "$dir/empty")
	expect_status 2 "$*"
	[ ! -s "$dir/out" ] || fail "something on standard output: $*"
	[ "$(wc -l <"$log")" = 1 ] || fail "not one line: $*"
	expect "$option" "\"$option\" is not named: $*"
	grep -aqi -- "$word" "$log" || fail "no word \"$word\": $*"
	grep -aqE '; |did you mean' "$log" || fail "nothing is said of what to do: $*"
	[ "$before" = "$after" ] || fail "a file was made: $*"
	count=$((count + 1))
}

wrong --kernel missing run
wrong --kernel 'no such file' run --kernel "$dir/absent"
wrong --kernel directory run --kernel "$dir/directory"
wrong --kernel kernel run --kernel "$dir/text"
wrong --kernel . run --kernel "$dir/nothing"
wrong --kernel . run --kernel "$dir/short"
wrong --kernel value run --kernel
wrong --initrd 'no such file' run --kernel "$vmlinuz" --initrd "$dir/absent"
wrong --initrd . run --kernel "$vmlinuz" --initrd "$dir/large"
wrong --module 'no such file' run --kernel "$guest" --module "$dir/absent,arguments"
wrong --append . run --kernel "$vmlinuz" --append "$(printf '%*s' 70000 | tr ' ' x)"
wrong --memory size run --kernel "$guest" --memory much
wrong --memory size run --kernel "$guest" --memory 12Q
wrong --memory . run --kernel "$guest" --memory -1
wrong --memory . run --kernel "$guest" --memory 0
wrong --memory . run --kernel "$guest" --memory 99999999999999999999
wrong --memory . run --kernel "$guest" --memory 60T
wrong --memory host run --kernel "$guest" --memory 40T
wrong --cpus 'not there yet' run --kernel "$guest" --cpus 2 --engine soft
wrong --cpus . run --kernel "$guest" --cpus none
wrong --nested-hw-virt amd run --kernel "$guest" --nested-hw-virt yes
wrong --engine kvm run --kernel "$guest" --engine tcg
wrong --disk 'no such file' run --kernel "$guest" --disk "$dir/absent"
wrong --disk empty run --kernel "$guest" --disk "$dir/nothing"
wrong --disk 512 run --kernel "$guest" --disk "$dir/text"
wrong --disk directory run --kernel "$guest" --disk "$dir/directory"
wrong --net user run --kernel "$guest" --net tap
wrong --net hostfwd run --kernel "$guest" --net user,hostfwd=tcp:127.0.0.1:x-:22
wrong --net IPv4 run --kernel "$guest" --net user,hostfwd=tcp:300.1.1.1:1234-:22
wrong --net hostfwd run --kernel "$guest" --net user,hostfwd=udp:127.0.0.1:1234-:22
wrong --net hostfwd run --kernel "$guest" --net user,hostfwd=tcp:127.0.0.1:70000-:22
wrong --net . run --kernel "$guest" --net user,hostfwd=tcp:192.0.2.1:24567-:22
wrong --net . run --kernel "$guest" --net user,other=1
wrong --cpu zen3 run --kernel "$guest" --cpu z80
wrong --cpu icelake run --kernel "$guest" --nested-hw-virt amd --cpu icelake
wrong --rng on run --kernel "$guest" --rng maybe
wrong --serial stdio run --kernel "$guest" --serial tty
wrong --serial . run --kernel "$guest" --serial "file:$dir/directory"
wrong --serial . run --kernel "$guest" --serial "unix:$dir/absent/socket"
wrong --escape Ctrl-B run --kernel "$guest" --escape Enter
wrong --escape Ctrl-B run --kernel "$guest" --escape Ctrl-M
wrong --console stdio run --kernel "$guest" --console tty
wrong --console . run --kernel "$guest" --console "file:$dir/directory"
wrong --console . run --kernel "$guest" --console "unix:$dir/absent/socket"
wrong --console --serial run --kernel "$guest" --console stdio --serial stdio
wrong --console --serial run --kernel "$guest" --serial file:both --console file:both
wrong --debug-exit port run --kernel "$guest" --debug-exit=hello
wrong --debug-exit port run --kernel "$guest" --debug-exit=0x12345
wrong --trace svm run --kernel "$guest" --trace everything
wrong --code-cache 128M run --kernel "$guest" --code-cache 1K
wrong --code-cache 128M run --kernel "$guest" --code-cache x
wrong --memroy --memory run --kernel "$guest" --memroy 1G
wrong --nested --nested-hw-virt run --kernel "$guest" --nested amd
wrong --zzz --help run --kernel "$guest" --zzz
wrong word . run --kernel "$guest" word
wrong rum 'run' rum
# Other options' files must not be made when a later one is wrong
wrong --memory . run --kernel "$guest" --serial file:serial --memory x
wrong --disk . run --kernel "$guest" --serial unix:socket --disk "$dir/absent"
if [ "$(id -u)" != 0 ]; then
	wrong --kernel denied run --kernel "$dir/unreadable"
	wrong --disk denied run --kernel "$guest" --disk "$dir/unreadable"
	wrong --serial denied run --kernel "$guest" --serial file:/etc/nestbox-test
fi

# Each option stands in --help and in the man page
"$nestbox" run --help >"$dir/help"
tr -d '\\' <"$root/docs/nestbox.1" >"$dir/man"
for option in kernel initrd append module memory cpus nested-hw-virt cpu engine disk net rng serial \
	console escape debug-exit trace no-reboot stats code-cache; do
	grep -q -- "--$option" "$dir/help" || fail "--$option is not in --help"
	grep -q -- "--$option" "$dir/man" || fail "--$option is not in the man page"
done
pass "$count wrong command lines each get one line and exit 2"
