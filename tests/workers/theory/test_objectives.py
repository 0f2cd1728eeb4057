"""Equations (1) to (4) against loops over nodes and instances, and against finite differences."""

from itertools import product as product_of

import pytest
import torch

from workers.theory.objectives import (
    OBJECTIVES,
    draw_cells,
    equation_1,
    equation_2,
    equation_3,
    equation_4,
    matched,
    narrow,
    output_gradients,
    product,
    weight_gradients,
    wide,
)

D, B, N, W = 3, 5, 4, 3


def drawn(name: str):
    generator = torch.Generator().manual_seed(0)
    cells = draw_cells(D, B, N, W, gain=1.2, generator=generator)
    return OBJECTIVES[name](D, B, N, W, generator), cells


def relative_error(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return (found - truth).norm(dim=(2, 3)) / truth.norm(dim=(2, 3))


def chain(weights: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """W_last ⋯ W_first of one cell."""
    found = torch.eye(W, dtype=torch.float64)
    for node in range(first, last + 1):
        found = weights[node] @ found
    return found


def test_the_narrow_cell_reads_node_after_node_and_the_wide_one_the_input():
    _, (weights, inputs) = drawn("linear")
    y, hat = (torch.empty(D, B, N, W, dtype=torch.float64) for _ in range(2))
    for draw, node, b in product_of(range(D), range(N), range(B)):
        y[draw, b, node] = weights[draw, node] @ inputs[draw, b]
        hat[draw, b, node] = chain(weights[draw], 0, node) @ inputs[draw, b]
    torch.testing.assert_close(wide(weights, inputs), y)
    torch.testing.assert_close(narrow(weights, inputs), hat)


def test_products_run_downwards_and_matched_weights_give_the_narrow_ones_outputs():
    _, (weights, inputs) = drawn("linear")
    torch.testing.assert_close(product(weights, 1, 2), weights[:, 2] @ weights[:, 1])
    assert torch.equal(product(weights, 2, 1)[0], torch.eye(W, dtype=torch.float64))
    torch.testing.assert_close(wide(matched(weights), inputs), narrow(weights, inputs))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_equations_are_the_sums_that_they_print(name):
    objective, (weights, inputs) = drawn(name)
    slopes = output_gradients(objective, narrow(weights, inputs))
    one, two, three = (torch.zeros_like(weights) for _ in range(3))
    for t in range(D):
        for b in range(B):
            x = inputs[t, b]
            for i in range(N):
                one[t, i] += torch.outer(slopes[t, b, i], x) / B
                before = chain(weights[t], 0, i - 1)
                for k in range(i, N):
                    back = chain(weights[t], i + 1, k).T @ slopes[t, b, k]
                    two[t, i] += torch.outer(back, before @ x) / B
                    three[t, i] += torch.outer(back, x) @ before.T / B
    torch.testing.assert_close(equation_1(slopes, inputs), one)
    torch.testing.assert_close(equation_2(weights, slopes, inputs), two)
    torch.testing.assert_close(equation_3(weights, slopes, inputs), three)
    torch.testing.assert_close(weight_gradients(objective, narrow, weights, inputs), two)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_equation_4_is_exact_at_matched_weights_and_at_the_same_only_for_a_linear_objective(name):
    objective, (weights, inputs) = drawn(name)
    truth = weight_gradients(objective, narrow, weights, inputs)
    equal = equation_4(weights, weight_gradients(objective, wide, matched(weights), inputs))
    same = equation_4(weights, weight_gradients(objective, wide, weights, inputs))
    assert relative_error(equal, truth).max() < 1e-12
    assert (relative_error(same, truth)[:, 0].max() < 1e-12) == (name == "linear")
