"""The kernel's interface as data, under the kernel's own names: nothing here makes a system call."""
