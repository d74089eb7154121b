"""Objects drawn by a worker process."""

import pytest
import torch

from clearpane.synthesis.objects.rendering import ObjectRenderOptions
from clearpane.synthesis.objects.samples import ObjectDataset, ObjectSources, ObjectStream
from clearpane.training.lirm.object_queue import ObjectOrder, ObjectQueue


@pytest.fixture
def one_thread():
    """As worker processes have: sums are taken in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_worker_makes_the_same_objects(one_thread):
    stream = ObjectStream(views=2, side=16, points=8, options=ObjectRenderOptions(1, 8, 2))
    data, order = ObjectDataset(ObjectSources(), stream), ObjectOrder(steps=2, batch=1)
    here, there = ObjectQueue(data, order, workers=0), ObjectQueue(data, order, workers=1)
    for step in range(2):
        (own,), (other,) = here.take(step), there.take(step)
        for name, value in own.views._asdict().items():
            assert torch.equal(getattr(other.views, name), value), name
        assert torch.equal(other.cameras.camera_to_world, own.cameras.camera_to_world)
        assert torch.equal(other.cameras.intrinsics, own.cameras.intrinsics)
        assert torch.equal(other.points, own.points)
        assert torch.equal(other.distances, own.distances)
