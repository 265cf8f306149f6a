"""``python -m purebpf``: the command line."""

import sys

from purebpf.cli.main import main

sys.exit(main())
