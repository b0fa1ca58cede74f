"""The one error of bundles; it stands alone, since a dialer's host has no simulator."""


class BundleError(ValueError):
    """A bundle is damaged, hostile, unsigned or not understood: one line on what and where."""
