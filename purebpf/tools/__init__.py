"""The ready-made tools: each a BPF object under ``prebuilt/`` and a front in Python, written against the public API."""
