"""Errors that a user can act on.

Every message names what was wrong, with which value, and what to do. At the boundaries they
become one line on the command line (exit code 2) and a JSON body over HTTP (``status``).
"""


class InsideSSLError(Exception):
    """Base of all errors a user can act on; ``status`` is the HTTP status at the API."""

    status = 400


class AudioError(InsideSSLError):
    """An audio file that cannot be read, or is outside the limits."""

    status = 422


class CorpusError(InsideSSLError):
    """A folder, manifest or download that does not make a usable corpus."""

    status = 422


class ModelError(InsideSSLError):
    """A checkpoint that cannot be loaded, or is not what its card says."""

    status = 422


class UnknownModelError(ModelError):
    """A model name that is not in the registry."""

    status = 404


class ConfigError(InsideSSLError):
    """An option with a value outside its range."""

    status = 422


class NotFoundError(InsideSSLError):
    """A result, upload or job that does not exist, or belongs to somebody else."""

    status = 404


class ConflictError(InsideSSLError):
    """A request that the present state forbids."""

    status = 409


class StorageError(InsideSSLError):
    """The cache or upload folder cannot be written: full, or read-only."""

    status = 507


class TrainingError(InsideSSLError):
    """Pre-training cannot start, or had to stop."""


class Cancelled(InsideSSLError):
    """The work was cancelled by its owner."""

    status = 409
