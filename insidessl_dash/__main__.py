"""``python -m insidessl_dash``."""

from insidessl_dash.cli import main

if __name__ == "__main__":
    main()
