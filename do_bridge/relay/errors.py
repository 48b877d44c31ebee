"""The exception of everything that this folder does."""


class RelayError(RuntimeError):
    """The relay could not be run or deployed.

    The message has the cause and the next step.
    """
