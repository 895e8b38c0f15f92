"""The two errors a user can meet. Both carry one plain line; the command line prints it and exits with status 2."""


class UserError(ValueError):
    """Something the user gave is wrong. The message says what, and what is allowed."""


class TrainingStopped(RuntimeError):
    """Training cannot go on. The message says at which step, why, and what is safe on disk."""
