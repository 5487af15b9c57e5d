"""The errors that a user can cause: each message says what was wrong and what to do."""


class ContextFaceError(Exception):
    """Base of every error raised on purpose by this package."""


class BadInput(ContextFaceError):
    """An utterance, image, message or parameter that cannot be used; the next is unaffected."""


class BadBundle(ContextFaceError):
    """A model bundle with a missing, corrupt or ill-matched file."""


class MissingDependency(ContextFaceError):
    """An optional package is not installed. The message is the command that installs it."""


class Aborted(ContextFaceError):
    """Inference was stopped on request before it had an answer."""
