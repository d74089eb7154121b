"""Gradients by threads against those of a plain loop."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Generator, Tensor

from clearpane.reconstruction.fitting.gradient_workers import gradient_workers


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_they_are_the_mean_of_those_one_by_one() -> None:
    weight = torch.randn(5, 4, generator=Generator().manual_seed(1), requires_grad=True)
    unused = torch.zeros(2, requires_grad=True)

    def loss_of(generator: Generator) -> Tensor:
        return (torch.randn(7, 5, generator=generator) @ weight).square().mean()

    with gradient_workers(seed=9, parts=3) as gradients:
        found = [gradients(loss_of, [weight, unused]) for _ in range(2)]
    seeds = torch.randint(2**62, (3,), generator=Generator().manual_seed(9)).tolist()
    generators = [Generator().manual_seed(seed) for seed in seeds]
    for gradient, nothing in found:  # generators go on from step to step
        parts = [torch.autograd.grad(loss_of(generator), weight)[0] for generator in generators]
        assert nothing is None
        torch.testing.assert_close(gradient, torch.stack(parts).mean(0))


def test_a_part_that_does_not_depend_on_a_parameter_counts_as_zero() -> None:
    weight, other = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)
    calls = iter(range(3))

    def loss_of(_: Generator) -> Tensor:
        return weight.sum() if next(calls) == 0 else other.sum()

    with gradient_workers(seed=0, parts=3) as gradients:
        gradient, _ = gradients(loss_of, [weight, other])
    torch.testing.assert_close(gradient, torch.full((2,), 1 / 3))


def test_gradients_that_share_memory_are_apart() -> None:
    first, second = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    with gradient_workers(seed=0, parts=3) as gradients:
        both = gradients(lambda _: (first + second).square().sum(), [first, second])
    for gradient in both:
        torch.testing.assert_close(gradient, torch.full((2,), 4.0))


@pytest.mark.parametrize("shape", [(6, 8, 5, 5), (1, 16, 4, 4, 4)])
def test_a_fused_optimiser_sees_them_where_they_belong(shape: tuple[int, ...]) -> None:
    # The gradient of a transposed copy lies in memory otherwise than the parameter.
    generator = Generator().manual_seed(0)
    start, weight = (torch.randn(shape, generator=generator) for _ in range(2))

    def moved(fused: bool) -> Tensor:
        parameter = start.clone().requires_grad_()
        with gradient_workers(seed=0, parts=3) as gradients:
            (gradient,) = gradients(
                lambda _: (parameter.transpose(0, 1) * weight.transpose(0, 1)).sum(), [parameter]
            )
        assert gradient is not None and gradient.stride() == parameter.stride()
        parameter.grad = gradient
        torch.optim.SGD([parameter], lr=0.1, fused=fused).step()
        return parameter.detach()

    torch.testing.assert_close(moved(fused=True), start - 0.1 * weight)
    torch.testing.assert_close(moved(fused=True), moved(fused=False))


def test_an_error_in_a_thread_is_raised_and_new_threads_are_as_before() -> None:
    def loss_of(_: Generator) -> Tensor:
        raise ZeroDivisionError("in a thread")

    assert threads_of_a_new_thread() == 3
    with (
        pytest.raises(ZeroDivisionError, match="in a thread"),
        gradient_workers(seed=0, parts=3) as gradients,
    ):
        gradients(loss_of, [torch.ones(1, requires_grad=True)])
    assert threads_of_a_new_thread() == 3


def test_within_each_thread_works_alone() -> None:
    def loss_of(_: Generator) -> Tensor:
        assert torch.get_num_threads() == 1
        return torch.ones(1, requires_grad=True).sum()

    with gradient_workers(seed=0, parts=3) as gradients:
        assert gradients(loss_of, [torch.ones(1, requires_grad=True)]) == [None]
