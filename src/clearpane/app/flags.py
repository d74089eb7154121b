"""Write the fields that the library's messages name as options of the command line."""

import re

_FIELD = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`]*))?`")


def name_flags(message: str) -> str:
    """Write each field that a message names in backticks as the option that sets it.

    >>> name_flags("`real_share=2`: give 0 to 1")
    '--real-share 2: give 0 to 1'
    >>> name_flags("out.glb: exists already; allow overwriting (`overwrite=True`)")
    'out.glb: exists already; allow overwriting (--overwrite)'
    """

    def flag(found: re.Match[str]) -> str:
        name = f"--{found[1].replace('_', '-')}"
        return name if found[2] in (None, "True") else f"{name} {found[2]}"

    return _FIELD.sub(flag, message)
