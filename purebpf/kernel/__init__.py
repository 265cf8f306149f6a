"""The only room with system calls: bpf(2), perf_event_open(2), tracefs, and why they fail."""
