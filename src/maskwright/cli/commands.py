"""Tables of commands: choose one by name, answer `--help`. Imports nothing heavy, so that it is instant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from maskwright.errors import suggestion

Command = tuple[Callable[[list[str]], int], str]
"""What to call with the remaining arguments, and one line of help."""

USAGE_ERROR = 2


def dispatch(prog: str, summary: str, commands: Mapping[str, Command], argv: list[str]) -> int:
    """Call the command that `argv` begins with and return its exit code.

    `prog` alone, `-h` and `--help` list the commands; an unknown name is an error with a suggestion (code 2).
    """
    if not argv or argv[0] in {"-h", "--help"}:
        sys.stdout.write(overview(prog, summary, commands))
        return 0 if argv else USAGE_ERROR
    name, *rest = argv
    if name not in commands:
        kind = "option" if name.startswith("-") else "command"
        hint = suggestion(name, commands)
        sys.stderr.write(f"error: unknown {kind} {name!r}.{hint} Run `{prog} --help` for the list.\n")
        return USAGE_ERROR
    return commands[name][0](rest)


def overview(prog: str, summary: str, commands: Mapping[str, Command]) -> str:
    """The text of `--help`: usage and one line a command."""
    width = max(len(name) for name in commands) + 2
    lines = [f"usage: {prog} COMMAND [options]", "", summary, "", "commands:"]
    lines += [f"  {name:<{width}}{text}" for name, (_, text) in commands.items()]
    lines += ["", f"Run `{prog} COMMAND --help` for the options of one command."]
    return "\n".join(lines) + "\n"
