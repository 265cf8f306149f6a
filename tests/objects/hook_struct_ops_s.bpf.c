// SPDX-License-Identifier: MIT OR GPL-2.0-only
#define SECTION "struct_ops.s"
#define PROGRAM on_struct_ops_s
#include "hook_struct_ops.h"
