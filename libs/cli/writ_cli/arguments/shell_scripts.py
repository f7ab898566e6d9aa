"""The scripts by which bash, zsh and fish complete words of `writ`: click's own, with what these leave out.

All three complete the value of `--option=value`, and set no space after `parameter=`, as fish does by itself.
"""

import os

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)


def _changed(script: str, *changes: tuple[str, str]) -> str:
    """Return the script with each text replaced. One that is absent is of another version of click, and stays out."""
    for before, after in changes:
        script = script.replace(before, after)
    return script


class BashScript(BashComplete):
    """Completion for bash, which takes `=` for a word of its own, and replaces only what comes after it.

    So the script also sends the line up to the cursor: joined from bash's words, `--as=alice` would be three words.
    """

    source_template = _changed(
        BashComplete.source_template,
        ("COMP_CWORD=$COMP_CWORD", 'COMP_CWORD=$COMP_CWORD COMP_LINE="${COMP_LINE:0:COMP_POINT}"'),
        ("    return 0\n", "    [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace\n    return 0\n"),
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the complete words after the command, and the one before the cursor."""
        line = os.environ.get("COMP_LINE")
        if line is None:  # the script of an earlier release, which a shell has loaded or a file holds
            return super().get_completion_args()
        words = split_arg_string(line)
        last = words.pop() if words and not line[-1].isspace() else ""
        return words[1:], last

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return what completes the line; of `name=value` the part that bash replaces. Click cuts that of an option."""
        before, sign, _ = ("", "", "") if incomplete.startswith("-") else incomplete.rpartition("=")
        found = super().get_completions(args, incomplete)
        return [CompletionItem(one.value.removeprefix(before + sign), type=one.type, help=one.help) for one in found]


_ZSH_OPTION = """    [[ ${words[CURRENT]} == -*=* ]] && compset -P 1 '*='

    for type key"""
_ZSH_NAMES = """        response=("${(@M)completions:#*=}")
        completions=("${(@)completions:#*=}")
        compadd -U -i "$IPREFIX" -V unsorted -a completions
        compadd -U -i "$IPREFIX" -V unsorted -S '' -a response
"""
_ZSH_LOADED = """    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef %(complete_func)s"""


class ZshScript(ZshComplete):
    """Completion for zsh, also where nothing has loaded its completion system, and in the middle of a line."""

    source_template = _changed(
        ZshComplete.source_template,
        ("${words[*]}", "${words[1,CURRENT]}"),
        ("    for type key", _ZSH_OPTION),
        ("completions_with_descriptions -U", 'completions_with_descriptions -U -i "$IPREFIX"'),
        ("        compadd -U -V unsorted -a completions\n", _ZSH_NAMES),
        ("    compdef %(complete_func)s", _ZSH_LOADED),
    )


_FISH_OPTION = """    set -l option (string match -r -- "^-[^=]*=" (commandline -t));

    for completion in"""


class FishScript(FishComplete):
    """Completion for fish, in which click's own script cuts descriptions and values at their first comma."""

    source_template = _changed(
        FishComplete.source_template,
        ('(string split ","', '(string split -m 1 ","'),
        ("    for completion in", _FISH_OPTION),
        ("echo $metadata[2];", 'echo -- "$option$metadata[2]";'),
    )


SCRIPTS: dict[str, type[ShellComplete]] = {"bash": BashScript, "zsh": ZshScript, "fish": FishScript}


def register() -> None:
    """Have click take them when a shell asks for completions."""
    for shell, script in SCRIPTS.items():
        add_completion_class(script, shell)
