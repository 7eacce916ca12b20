#!/bin/bash
# SPDX-License-Identifier: MIT
# kvm-levels.sh, on VT-x.
exec "$(dirname "$0")/kvm-levels.sh" intel
