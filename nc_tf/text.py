"""Text that a stranger may have chosen, as it can be shown: names of files, classes and arrays, and what error messages quote."""


def printable(text: object) -> str:
    """Return `str(text)` with every character escaped that cannot be shown.

    What could write over a terminal or add a line to a file comes out as `\\x1b`, `\\n` or `\\u202e`: control characters, line breaks,
    marks that turn the direction of writing. So does a byte of a file name that is no UTF-8, which Python holds as half a surrogate
    pair: `\\udcff`. All other characters, in any script, stay as they are; the text has one line.
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(text))
