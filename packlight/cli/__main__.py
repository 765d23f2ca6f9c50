"""`python -m packlight.cli` is the same as `packlight`."""

from packlight.cli import main

main()
