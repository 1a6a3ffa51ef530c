"""The guard as a process; started by a run, not by people."""

import sys

from challenge.guard.process import main

main(sys.argv[1:])
