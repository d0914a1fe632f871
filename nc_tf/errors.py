"""The one exception for mistakes of callers, and escaping of text from strangers for its message."""


def printable(text: object) -> str:
    r"""Return `str(text)` on one line, with every character escaped that cannot be shown.

    Control characters, line breaks and marks of writing direction could write over a terminal or add a line to a file. They come out as
    `\x1b`, `\n` or `\u202e`. A byte of a file name that is no UTF-8, which Python holds as half a surrogate pair, comes out as `\udcff`.
    All other characters, in any script, stay as they are.
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(text))


def quote(name: object) -> str:
    """Return a name from a file in quotes, printable and at most 80 long."""
    text = ascii(name)
    return text if len(text) <= 80 else f"{text[:76]}..."


class InputError(ValueError):
    """Bad input: the message says what was given, what was expected and what to do.

    The command line prints the message as one line on stderr and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        """Make the message printable, because it may quote a stranger's text."""
        super().__init__(printable(message))
