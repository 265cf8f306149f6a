// SPDX-License-Identifier: MIT OR GPL-2.0-only
#define SECTION "struct_ops"
#define PROGRAM on_struct_ops
#include "hook_struct_ops.h"
