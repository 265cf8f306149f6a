"""The job of the bench, with BCC: a tool that shows each exec with its arguments.

It does what BCC's own execsnoop does, and in the same way: a record for each argument, 20 at most, and one for the
result of execve(2).  Only that it stands on tracepoints and not on kprobes, as purebpf's does, which every kernel with
CONFIG_FTRACE_SYSCALLS has.  It does less than purebpf's: nothing of execveat(2), and no longer lists of arguments.

Prints "attached WALL USER": milliseconds that compiling and loading took by the clock, and those of them that the CPU
spent in this process outside of the kernel.  Then a line for each exec, until it is terminated.
"""

from __future__ import annotations

import resource
import time
from collections import defaultdict

from bcc import BPF

PROGRAM = """
#include <linux/sched.h>

struct record {
    u32 pid;
    u32 ppid;
    int is_result;
    int result;
    char comm[TASK_COMM_LEN];
    char argument[128];
};

BPF_PERF_OUTPUT(records);

static void begin(struct record *record)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();

    record->pid = bpf_get_current_pid_tgid() >> 32;
    record->ppid = task->real_parent->tgid;
    bpf_get_current_comm(record->comm, sizeof(record->comm));
}

TRACEPOINT_PROBE(syscalls, sys_enter_execve)
{
    struct record record = {};
    const char *argument;

    begin(&record);
    bpf_probe_read_user_str(record.argument, sizeof(record.argument), args->filename);
    records.perf_submit(args, &record, sizeof(record));
    #pragma unroll
    for (int i = 1; i < 20; i++) {
        argument = NULL;
        bpf_probe_read_user(&argument, sizeof(argument), &args->argv[i]);
        if (!argument)
            return 0;
        bpf_probe_read_user_str(record.argument, sizeof(record.argument), argument);
        records.perf_submit(args, &record, sizeof(record));
    }
    return 0;
}

TRACEPOINT_PROBE(syscalls, sys_exit_execve)
{
    struct record record = {.is_result = 1, .result = args->ret};

    begin(&record);
    records.perf_submit(args, &record, sizeof(record));
    return 0;
}
"""


def user():
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


wall_before, user_before = time.perf_counter(), user()
bpf = BPF(text=PROGRAM)
wall_taken, user_taken = time.perf_counter() - wall_before, user() - user_before

arguments = defaultdict(list)


def show(cpu, data, size):
    record = bpf["records"].event(data)
    if record.is_result:
        line = b" ".join(arguments.pop(record.pid, []))
        print(record.pid, record.ppid, record.comm.decode(), record.result, line.decode(), flush=True)
    else:
        arguments[record.pid].append(record.argument)


bpf["records"].open_perf_buffer(show)
print(f"attached {1e3 * wall_taken:.3f} {1e3 * user_taken:.3f}", flush=True)
while True:
    bpf.perf_buffer_poll()
