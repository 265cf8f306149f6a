// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* conf_core_direct in version 4 of the instruction set: it has loads that extend the sign, and stores of constants. */
#include "conf_core_direct.bpf.c"
