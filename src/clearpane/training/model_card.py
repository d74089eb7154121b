"""Model cards of training runs."""

from collections.abc import Collection, Mapping
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from clearpane.hub.card import CardFacts, write_card


class CardRecipe(Protocol):
    """Define what a recipe has: settings as dataclass fields, and the folder of the run."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def output(self) -> Path:
        """Return the folder of the run."""
        ...


def write_run_card(
    recipe: CardRecipe, facts: CardFacts, data: Mapping[str, int], free: Collection[str]
) -> None:
    """Write the model card of a run into its folder.

    Args:
        facts: What the card says besides the training.
        data: Number of pieces of training data by what they are; zeros are left out.
        free: Names of the settings that may change when the run resumes; the card leaves them out.

    Raises:
        ClearpaneError: It cannot be written.
    """
    values = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name not in {*free, "base"}}
    settings = {name: _plain(value) for name, value in values.items() if value is not None}
    amounts = {what: str(count) for what, count in data.items() if count}
    write_card(recipe.output, replace(facts, data=amounts, settings=settings))


def _plain(value: Any) -> Any:
    """Return a setting for the card; of a path the last part alone: the rest is nobody else's concern."""
    if isinstance(value, Path):
        return value.name
    return " ".join(map(str, value)) if isinstance(value, tuple) else value
