"""The errors that quietdial raises for its users: one line, what was wrong, what is allowed."""


class QuietDialError(Exception):
    """Base of every error that quietdial raises on purpose; the command line exits with 2."""


class ConfigError(QuietDialError, ValueError):
    """A scenario, run configuration or argument holds a value that is not allowed."""


class CalibrationError(QuietDialError, ValueError):
    """A table of calls cannot be read or fitted."""


class CheckpointError(QuietDialError):
    """A saved policy is missing, damaged or does not fit the environment."""


class ExportError(QuietDialError):
    """An exported policy does not reproduce the policy that it was made from."""


class RunFolderError(QuietDialError, OSError):
    """A run folder cannot be written or read."""


class MissingExtraError(QuietDialError, ImportError):
    """An optional part of quietdial is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """Name the missing package, what needs it and the command that installs it."""
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f'install it with: pip install "quietdial[{extra}]"'
        )
