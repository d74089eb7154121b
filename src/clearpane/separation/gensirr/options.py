"""Options of GenSIRR."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.options import FluxOptions, check_count

Branching = Literal["depth", "depth-and-edges", "residual"]


@dataclass(frozen=True)
class GensirrOptions(FluxOptions):
    """Options of GenSIRR; ``weights`` is the folder that train gensirr or convert gensirr wrote.

    Attributes:
        candidates: Number of noises to choose from after one step, at least 1.
        branching: Rule of the choice; see `clearpane.separation.gensirr.scorers`.
        depth_model: Directory or hub name of the depth estimator; None for Depth Anything V2 small.
        side: Side in pixels of the size that a photograph is resized to, at least 16; None for that of the
            weights.
        enlarge: True to bring a photograph's short side to ``side``, also by enlarging it, up to an area of
            twice ``side * side``; False to shrink it to the area of ``side * side``, never enlarging it; None
            for the rule of the weights.

    >>> GensirrOptions(Path("gensirr"), candidates=4).branching
    'depth'
    """

    title: ClassVar[str] = "GenSIRR"
    pictures: ClassVar[int] = 1

    weights: Path = field(
        metadata={"origin": "the folder that clearpane train gensirr or convert gensirr wrote"}
    )
    candidates: int = 1
    branching: Branching = "depth"
    depth_model: str | None = None
    side: int | None = None
    enlarge: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("candidates", self.candidates)
        if self.side is not None and self.side < 16:
            raise ClearpaneError(f"`side={self.side}`: give 16 or more")
        if self.candidates == 1 and (self.branching != "depth" or self.depth_model):
            raise ClearpaneError("`branching` and `depth_model` go with `candidates` 2 or more")
        if self.branching == "residual" and self.depth_model:
            raise ClearpaneError("`depth_model` goes with `branching=depth` and depth-and-edges")
