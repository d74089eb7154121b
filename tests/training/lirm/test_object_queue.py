"""Objects drawn by a worker process."""

import pytest
import torch

from clearpane.synthesis.objects.rendering import ObjectRenderOptions
from clearpane.synthesis.objects.samples import ObjectDataset, ObjectSources, ObjectStream
from clearpane.training.lirm.object_queue import ObjectOrder, ObjectQueue, _From


@pytest.fixture
def one_thread():
    """As worker processes have: sums are taken in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_two_processes_take_every_other_draw_and_none_twice():
    drawn = {}
    for process in (0, 1):
        order = ObjectOrder(draws=6, batch=2, processes=2)
        own = list(_From(order, process))
        assert len(own) == len(_From(order, process)) == 3
        drawn[process] = [number for numbers in own for number in numbers]
    assert sorted(drawn[0] + drawn[1]) == list(range(12))


def test_a_worker_makes_the_same_objects(one_thread):
    stream = ObjectStream(views=2, side=16, points=8, options=ObjectRenderOptions(1, 8, 2))
    data, order = ObjectDataset(ObjectSources(), stream), ObjectOrder(draws=2, batch=1)
    here, there = ObjectQueue(data, order, workers=0), ObjectQueue(data, order, workers=1)
    for step in range(2):
        (own,), (other,) = here.take(step), there.take(step)
        for name, value in own.views._asdict().items():
            assert torch.equal(getattr(other.views, name), value), name
        assert torch.equal(other.cameras.camera_to_world, own.cameras.camera_to_world)
        assert torch.equal(other.cameras.intrinsics, own.cameras.intrinsics)
        assert torch.equal(other.points, own.points)
        assert torch.equal(other.distances, own.distances)
