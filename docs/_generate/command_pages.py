"""The reference of the command line, read from its own parser."""

import argparse

from nc_tf.cli.main import parser


def commands_page() -> str:
    """A section for each command: its description, how it is called, and a table of its options."""
    top = parser()
    children = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    parts = ["# Commands", "Made from the parser of `nc-tf`. `nc-tf COMMAND --help` prints the same.", _overview(children)]
    parts += [_section(name, command) for name, command in children.choices.items()]
    return "\n\n".join(parts) + "\n"


def _overview(children: argparse._SubParsersAction) -> str:
    rows = [f"| [`nc-tf {action.dest}`](#nc-tf-{action.dest}) | {_cell(action.help)} |" for action in children._choices_actions]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows])


def _section(name: str, command: argparse.ArgumentParser) -> str:
    usage = command.format_usage().removeprefix("usage: ").strip()
    parts = [f"## nc-tf {name}", (command.description or "").strip(), f"```text\n{usage}\n```"]
    rows = [_row(action) for action in command._actions if action.help != argparse.SUPPRESS]
    return "\n\n".join([*parts, "\n".join(["| argument | default | meaning |", "| --- | --- | --- |", *rows])])


def _row(action: argparse.Action) -> str:
    takes = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    value = " ".join(takes) if isinstance(takes, tuple) else takes
    if action.option_strings:
        called = ", ".join(f"`{option} {value}`" if value else f"`{option}`" for option in action.option_strings)
    else:
        called = f"`{value}`"
    meaning = _cell(action.help)
    if action.choices is not None and not action.metavar:
        called = ", ".join(f"`{option}`" for option in action.option_strings) or called
        meaning = f"{meaning}{'; ' if meaning else ''}one of {', '.join(f'`{choice}`' for choice in action.choices)}"
    usual = action.default
    shown = "" if usual in (None, False, (), argparse.SUPPRESS) or action.nargs == 0 else f"`{_value(usual)}`"
    return f"| {called} | {shown} | {meaning} |"


def _value(usual: object) -> str:
    return ",".join(map(str, usual)) if isinstance(usual, (list, tuple)) else str(usual)


def _cell(text: str | None) -> str:
    return (text or "").replace("%%", "%").replace("|", "\\|").replace("\n", " ")
