"""Accelerate reads its launch files."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

FILES = sorted((Path(__file__).parents[2] / "configs" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_accelerate_reads_the_file(file: Path) -> None:
    config = load_config_from_file(str(file))
    assert config.num_processes % config.num_machines == 0
    assert config.mixed_precision == "no"


def test_there_is_a_file_for_each_kind_of_machine() -> None:
    assert [file.stem for file in FILES] == ["cpus", "one_machine", "two_machines"]
