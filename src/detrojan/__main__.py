"""`python -m detrojan` is the command `detrojan`."""

import sys

from detrojan.cli import main

if __name__ == "__main__":
    sys.exit(main())
