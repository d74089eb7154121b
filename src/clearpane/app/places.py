"""Local paths and addresses among a command's options."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from clearpane.app.inputs import UsageError
from clearpane.cluster.addresses import as_local, is_remote, shown

T = TypeVar("T", bound=Any)


def with_local_paths(options: T, names: Sequence[str], positional: str = "") -> T:
    """Turn file:// addresses among the named options into paths; refuse others without a cluster.

    Args:
        options: Dataclass with the field `ray`; a named field holds a path, several or None.
        names: Names of the fields.
        positional: Name of the field that is written without its name on the command line.

    Raises:
        UsageError: An address was given, but no cluster.
    """
    changed: dict[str, Any] = {}
    for name in names:
        value = getattr(options, name)
        places = value if isinstance(value, tuple) else () if value is None else (value,)
        local = tuple(map(as_local, places))
        for place in local:
            if is_remote(place) and options.ray is None:
                flag = "" if name == positional else f"--{name.replace('_', '-')} "
                raise UsageError(f"{flag}{shown(place)}: an address needs --ray")
        if local:
            changed[name] = local if isinstance(value, tuple) else local[0]
    return replace(options, **changed)
