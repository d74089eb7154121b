import pytest
import torch
from safetensors.torch import save_file

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.task_embedding import TaskEmbedding, load_task_embedding


def test_a_task_comes_back_as_it_was_written(tmp_path):
    task = TaskEmbedding(torch.randn(1, 5, 8), torch.randn(1, 6))
    task.save(tmp_path / "task.safetensors")
    back = load_task_embedding(tmp_path / "task.safetensors")
    assert torch.equal(back.prompt_embeds, task.prompt_embeds)
    assert torch.equal(back.pooled_prompt_embeds, task.pooled_prompt_embeds)


def test_what_is_no_task_is_refused(tmp_path):
    path = tmp_path / "task.safetensors"
    with pytest.raises(ClearpaneError, match="not a task embedding"):
        load_task_embedding(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ClearpaneError, match="not a task embedding"):
        load_task_embedding(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ClearpaneError, match="not a task embedding"):
        load_task_embedding(path)
    save_file({"prompt_embeds": torch.zeros(5, 8), "pooled_prompt_embeds": torch.zeros(1, 6)}, path)
    with pytest.raises(ClearpaneError, match=r"tensors are \[5, 8\] and \[1, 6\]"):
        load_task_embedding(path)
