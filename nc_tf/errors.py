"""The one exception that stands for a caller's mistake, and text from strangers made fit for its message."""


def printable(text: object) -> str:
    r"""Return `str(text)` with every character escaped that cannot be shown.

    What could write over a terminal or add a line to a file comes out as `\x1b`, `\n` or `\u202e`: control characters, line breaks,
    marks that turn the direction of writing. So does a byte of a file name that is no UTF-8, which Python holds as half a surrogate
    pair: `\udcff`. All other characters, in any script, stay as they are; the text has one line.
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(text))


def quote(name: object) -> str:
    """Quote a name that comes out of a file: one line, no control characters, not endless."""
    text = ascii(name)
    return text if len(text) <= 80 else f"{text[:76]}..."


class InputError(ValueError):
    """Bad input: the message says what was given, what was expected and what to do.

    The command line prints it as one line on stderr and exits with code 2. What a message quotes may be a stranger's: it is made printable.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
