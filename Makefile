# Thin: Meson builds, the scripts of tools/ do the rest. "make" alone builds build/nestbox.
BUILD ?= build

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)
	@ln -sf src/cmd/nestbox $(BUILD)/nestbox

$(BUILD)/build.ninja:
	@tools/setup.sh build
	@meson setup $(BUILD)

# Sets up all that is needed, builds, runs every test; the last line counts them.
test:
	@tools/test.sh

# A VM in a VM, shown: sets up all that is needed, builds, boots L1 and L2 in it.
demo:
	@tools/demo.sh

# The same program with the address and undefined-behaviour sanitizers, and the unit tests and guests
# with it. The engine gives each thread an alternate signal stack of its own.
asan: export ASAN_OPTIONS = use_sigaltstack=0
asan: export UBSAN_OPTIONS = halt_on_error=1:print_stacktrace=1
asan:
	@tools/setup.sh build
	@test -e build-asan/build.ninja || meson setup build-asan -Db_sanitize=address,undefined \
		-Db_lundef=false
	@ninja -C build-asan
	@ln -sf src/cmd/nestbox build-asan/nestbox
	@meson test -C build-asan --no-rebuild --print-errorlogs

# A static program without the user-mode network, for an initramfs: build-minimal/nestbox.
minimal:
	@tools/setup.sh build
	@zydis=$$(tools/zydis.sh) && { test -e build-minimal/build.ninja || \
		meson setup build-minimal -Dminimal=true -Dzydis_dir=$$(dirname $$zydis) \
		-Ddebug=false; }
	@ninja -C build-minimal
	@ln -sf src/cmd/nestbox build-minimal/nestbox

# Hours, not minutes: inner VMs started by the hundred, random VMCBs by the million, true time, load.
soak: all
	@NESTBOX=$(abspath $(BUILD)/nestbox) tests/soak/run.sh

# Every fuzzer for FUZZ_SECONDS (60).
fuzz:
	@tools/fuzz.sh

clean:
	rm -rf build build-asan build-minimal build-fuzz

.PHONY: all test demo asan minimal soak fuzz clean
