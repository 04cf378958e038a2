"""Errors that a user can act on. Each message is one sentence: what is wrong, where, and what to do."""


class PerceptionError(Exception):
    """Base of every error this package raises on purpose."""


class BundleError(PerceptionError):
    """A model bundle is missing, altered, incomplete or from a newer format."""


class EngineError(PerceptionError):
    """An inference backend is unknown, unavailable, or cannot run the bundle."""


class GoldenError(EngineError):
    """An engine runs, but computes something else than the bundle's golden data."""


class EngineLost(EngineError):
    """An engine hangs, or its GPU's context is lost: only a new process helps."""


class ImageError(PerceptionError):
    """An image message cannot be used: wrong size, step or encoding."""


class BagError(PerceptionError):
    """A bag cannot be written or read: the disk, a damaged or foreign file, or a missing package."""
