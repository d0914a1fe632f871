"""The one exception that stands for a caller's mistake."""


class InputError(ValueError):
    """Bad input: the message says what was given, what was expected and what to do.

    The command line prints it as one line on stderr and exits with code 2.
    """
