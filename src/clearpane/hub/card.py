"""Model cards: the README.md of a model's directory, with the metadata that the model hub reads."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearpane._version import __version__
from clearpane.errors import ClearpaneError, MissingExtraError, first_line
from clearpane.files import atomic_path
from clearpane.hub.download import is_hub_name

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

CARD = "README.md"
UNKNOWN = "unknown"
"""Licence of what has none that Clearpane knows; the hub's own word."""

# Licences of base models whose weights pass theirs on: identifier, name, address.
_LICENCES: dict[str, dict[str, Any]] = {
    "black-forest-labs/FLUX.1-Kontext-dev": {
        "license": "other",
        "license_name": "flux-1-dev-non-commercial-license",
        "license_link": "https://huggingface.co/black-forest-labs/FLUX.1-Kontext-dev/blob/main/LICENSE.md",
    },
    "Qwen/Qwen-Image-Edit-2509": {"license": "apache-2.0"},
}


@dataclass(frozen=True)
class CardFacts:
    """Hold the contents of a model card.

    Attributes:
        title: Heading.
        summary: What the model does, in a sentence or two.
        use: Python that loads the model, or a command.
        task: The hub's name of the task.
        tags: Tags besides the task.
        base: Base model, a hub name or a directory; None if there is none.
        data: Training data: what it is, and how much.
        settings: Settings of the training by name.
    """

    title: str
    summary: str
    use: str
    task: str = "image-to-image"
    tags: Sequence[str] = ("reflection-removal",)
    base: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """Means of one test set for the card.

    Attributes:
        dataset: Name of the set.
        protocol: Size that was measured at, see `clearpane.evaluation.protocols`.
        pictures: Number of pictures.
        titles: Titles of the metrics, by their keys.
        rows: Means by metric for each row; the rows that are not the model's serve for comparison.
        model: Name of the model's row.
    """

    dataset: str
    protocol: str
    pictures: int
    titles: Mapping[str, str]
    rows: Mapping[str, Mapping[str, float]]
    model: str


def write_card(folder: Path, facts: CardFacts) -> None:
    """Write the model card of a directory, replacing an earlier one.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        ClearpaneError: It cannot be written.
    """
    try:
        from huggingface_hub import ModelCard, ModelCardData
    except ModuleNotFoundError as error:
        raise MissingExtraError("a model card", "hub") from error
    named = facts.base is not None and is_hub_name(facts.base)
    licence = _LICENCES.get(facts.base or "", {"license": UNKNOWN})
    data = ModelCardData(
        base_model=facts.base if named else None,
        library_name="clearpane",
        pipeline_tag=facts.task,
        tags=[facts.task, *facts.tags],
        **licence,
    )
    text = _text(facts, licence.get("license_name", licence["license"]), named)
    _save(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}"), folder)


def _text(facts: CardFacts, licence: str, named: bool) -> str:
    parts = [f"# {facts.title}\n\n{facts.summary}", f"## Use\n\n```\n{facts.use.strip()}\n```"]
    if facts.base is not None:
        base = facts.base if named else f"{Path(facts.base).name} (a directory; give yours as `base`)"
        parts.append(f"## Base model\n\n{base}")
    data = "\n".join(f"| {what} | {amount} |" for what, amount in facts.data.items())
    recorded = f"| data | amount |\n|---|---|\n{data}" if data else "Not recorded."
    parts.append(f"## Training data\n\n{recorded}")
    if facts.settings:
        rows = "\n".join(f"| {name} | {value} |" for name, value in facts.settings.items())
        parts.append(f"## Training\n\nClearpane {__version__}.\n\n| setting | value |\n|---|---|\n{rows}")
    if licence == UNKNOWN:
        licence = "Not stated. The licences of the training data and of the base model, if any, apply."
    parts.append(f"## Licence\n\n{licence}")
    return "\n\n".join(parts) + "\n"


def complete_card(folder: Path, figures: Sequence[Figures] = (), licence: str | None = None) -> None:
    """Add figures and a licence to a directory's model card, replacing earlier ones.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        ClearpaneError: The card is missing or damaged, or cannot be written.
    """
    path = folder / CARD
    try:
        from huggingface_hub import EvalResult, ModelCard
    except ModuleNotFoundError as error:
        raise MissingExtraError("a model card", "hub") from error
    try:
        card = ModelCard.load(path)
    except Exception as error:  # of YAML or the file system: no common base class
        raise ClearpaneError(f"{path}: cannot be read as a model card ({first_line(error)})") from error
    if licence is not None:
        for name in ("license_name", "license_link"):
            card.data.pop(name, None)
        card.data.license = licence
        card.text = _with_section(card.text, "Licence", licence)
    if figures:
        card.data.model_name = card.data.model_name or folder.resolve().name
        card.data.eval_results = [
            EvalResult(
                task_type="image-to-image",
                dataset_type=f.dataset,
                dataset_name=f.dataset,
                metric_type=key,
                metric_value=round(value, 4),
                metric_name=f"{f.titles[key]} (protocol {f.protocol})",
            )
            for f in figures
            for key, value in f.rows[f.model].items()
        ]
        card.text = _with_section(card.text, "Figures", "\n\n".join(map(_table, figures)))
    _save(card, folder)


def _with_section(text: str, heading: str, content: str) -> str:
    """Replace a section of a card's text, or add it at the end."""
    section = f"## {heading}\n\n{content}\n"
    old = re.search(rf"^## {heading}\n.*?(?=^## |\Z)", text, re.M | re.S)
    if old is None:
        return f"{text.rstrip()}\n\n{section}"
    return text[: old.start()] + section + ("\n" if old.end() < len(text) else "") + text[old.end() :]


def _table(figures: Figures) -> str:
    keys = list(figures.rows[figures.model])
    titles = " | ".join(figures.titles[key] for key in keys)
    lines = [
        f"{figures.dataset}, {figures.pictures} pictures, protocol {figures.protocol}:\n",
        f"| | {titles} |",
        "|---" + "|---:" * len(keys) + "|",
    ]
    for name, means in figures.rows.items():
        values = " | ".join(f"{means[key]:.4g}" if key in means else "" for key in keys)
        lines.append(f"| {name} | {values} |")
    return "\n".join(lines)


def _save(card: "ModelCard", folder: Path) -> None:
    with atomic_path(folder / CARD, overwrite=True) as temporary:
        temporary.write_text(str(card).rstrip() + "\n", encoding="utf-8")
