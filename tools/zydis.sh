#!/bin/bash
# SPDX-License-Identifier: MIT
# Makes the archive libZydis.a for static programs, which Debian's libzydis-dev does not have, from
# Debian's source package of the same version. A libZydis.a that is installed is taken as it is.
# Prints its path.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

libraries=$(gcc -print-file-name=libZydis.a)
if [ -e "$libraries" ]; then
	echo "$libraries"
	exit
fi
version=$(dpkg-query -W -f '${source:Version}' libzydis-dev) || fail "no libzydis-dev: tools/setup.sh"
out=$cache/zydis-$version/libZydis.a
lock zydis

# Puts the source package into $scratch; system settings and package lists of apt stay as they are.
fetch_source() {
	local file
	mkdir -p "$scratch"/{parts,lists/partial}
	for file in /etc/apt/sources.list.d/*.sources; do
		[ ! -e "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$scratch/parts/$(basename "$file")"
	done
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ ! -e "$file" ] || sed -n 's/^deb /deb-src /p' "$file" >"$scratch/parts/$(basename "$file")"
	done
	local apt=(-q -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$scratch/parts"
		-o "Dir::State::Lists=$scratch/lists" -o APT::Sandbox::User=root)
	# a source that has no source packages is no error as long as another has this one
	apt-get "${apt[@]}" update || true
	(cd "$scratch" && apt-get "${apt[@]}" source --download-only "zydis=$version")
}

if [ ! -e "$out" ]; then
	scratch_dir
	say "fetching Debian's source of Zydis $version"
	if ! fetch_source >"$scratch/log" 2>&1; then
		tail -n 5 "$scratch/log" >&2
		fail "apt has no source package zydis $version"
	fi
	mkdir "$scratch/zydis" "$scratch/objects"
	tar -x -C "$scratch/zydis" --strip-components=1 -f "$scratch"/zydis_*.orig.tar.*
	# A section each, so that a program gets what it uses: no formatter, no encoder
	for file in "$scratch"/zydis/src/*.c; do
		gcc -O2 -fPIE -ffunction-sections -fdata-sections -DNDEBUG -DZYDIS_STATIC_BUILD \
			-DZYCORE_STATIC_BUILD -I "$scratch/zydis/include" -I "$scratch/zydis/src" \
			-c "$file" -o "$scratch/objects/$(basename "$file" .c).o"
	done
	ar rcsD "$scratch/libZydis.a" "$scratch"/objects/*.o
	mkdir -p "$(dirname "$out")"
	mv "$scratch/libZydis.a" "$out"
fi
echo "$out"
