"""Events on their way from BPF programs to Python: the rings that kernel and user space share.

:mod:`purebpf.events.perf` reads perf rings, one for each CPU, behind a BPF_MAP_TYPE_PERF_EVENT_ARRAY.
"""
