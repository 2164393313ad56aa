import numpy as np
import pytest
import torch

from theriac.detect.inputs.perceptron import descend, forward, perceptron


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_descent_finds_what_least_squares_finds():
    x = torch.randn(200, 3, generator=generator())
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.7
    parts = perceptron((3, 1), generator())
    descend(
        parts, lambda i: (forward(parts, x[i]) - y[i]).square().mean(), 200, steps=800, rate=0.05, generator=generator()
    )
    assert parts[0][0].tolist() == pytest.approx([1, -2, 0.5], abs=0.01)
    assert float(parts[1]) == pytest.approx(0.7, abs=0.01)
    assert not any(part.requires_grad for part in parts)


def test_one_seed_gives_one_network_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained = []
    for _ in range(2):
        own, parts = generator(3), perceptron((2, 4, 1), generator(2))
        with torch.no_grad():  # a caller's no_grad does not stop the learning
            descend(
                parts,
                lambda i, parts=parts: (forward(parts, torch.ones(len(i), 2)) - 1).square().mean(),
                300,
                steps=50,
                rate=0.01,
                generator=own,
            )
        trained.append(parts)
    assert all(torch.equal(a, b) for a, b in zip(*trained, strict=True))
    assert torch.equal(torch.rand(3), expected)
    assert np.isfinite(trained[0][0].numpy()).all()
