"""The full kernel: every feature of docs/mechanisms.md."""
