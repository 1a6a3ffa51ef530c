"""Run the challenge from a checkout: ``python run_challenge.py generate --model tiny``."""

from challenge.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
