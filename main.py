"""`python main.py --config=configs/X.py --workdir=DIR`; see `python main.py --help`."""

import sys

from exits_jax.app.command_line import main

if __name__ == "__main__":
    sys.exit(main())
