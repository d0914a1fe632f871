"""The one exception that stands for a caller's mistake."""

from nc_tf.text import printable


class InputError(ValueError):
    """Bad input: the message says what was given, what was expected and what to do.

    The command line prints it as one line on stderr and exits with code 2. What a message quotes may be a stranger's: it is made printable.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
