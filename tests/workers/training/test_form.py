"""The form of a step: on fixed tensors it gives the numbers that it gives as it is."""

import dataclasses

import pytest
import torch
from small_trials import GENOTYPE
from torch import Tensor

from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import named
from workers.network.network import build_network
from workers.training.engine import Engine
from workers.training.form import WARM_UP, Fixed, repeat

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def noisy() -> Genotype:
    """DARTS with noise on an edge of each cell."""
    genotype = named("DARTS")
    cells = []
    for cell in (genotype.normal, genotype.reduce):
        (_, *first), *rest = cell.nodes
        edge = dataclasses.replace(cell.nodes[0][0], op="noise")
        cells.append(dataclasses.replace(cell, nodes=((edge, *first), *rest)))
    return Genotype(*cells)


def engine(
    form: str,
    *,
    genotype: Genotype = GENOTYPE,
    device: torch.device = CPU,
    said: list[str] | None = None,
) -> Engine:
    network = build_network(genotype, NetworkSpec(3, 2), in_channels=1, classes=10, seed=0)
    recipe = Recipe(epochs=4, drop_path=0.3, drop_path_growth="constant", grad_clip=1.5)
    said = [] if said is None else said
    return Engine(network.to(device), recipe, form=form, say=said.append)


def batches(count: int, device: torch.device = CPU, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Of 12 images, and a smaller one at the end."""
    stream = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 1, 16, 16, generator=stream).to(device),
            torch.randint(10, (size,), generator=stream).to(device),
        )
        for size in [12] * count + [5]
    ]


def epochs(trained: Engine, device: torch.device = CPU) -> list[float]:
    """Numbers of two epochs at two rates, each with an evaluation."""
    numbers = []
    for epoch, rate in ((1, 0.1), (2, 0.02)):
        trained.begin(0, epoch)
        totals = trained.train_epoch(batches(WARM_UP + 3, device, seed=epoch), rate)
        numbers += [*dataclasses.astuple(totals), *trained.evaluate(batches(3, device))]
    return numbers


@pytest.mark.parametrize("genotype", [GENOTYPE, noisy()], ids=["small", "noise"])
def test_steps_on_fixed_tensors_give_the_same_bits(genotype: Genotype):
    plain, fixed = engine("eager", genotype=genotype), engine("fixed", genotype=genotype)
    assert epochs(plain) == epochs(fixed)
    state = fixed.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state().items())


@needs_gpu
@pytest.mark.parametrize("genotype", [GENOTYPE, noisy()], ids=["small", "noise"])
def test_steps_in_a_graph_give_the_same_numbers(genotype: Genotype):
    said: list[str] = []
    plain = engine("eager", genotype=genotype, device=CUDA)
    graphed = engine("graphed", genotype=genotype, device=CUDA, said=said)
    assert epochs(graphed, CUDA) == pytest.approx(epochs(plain, CUDA), rel=1e-3)
    assert (graphed.form, said) == ("graphed", [])


def test_a_graph_that_cannot_be_captured_leaves_the_steps_as_they_are_and_says_so():
    """As here, where a CPU has none; the numbers are those of plain steps."""
    said: list[str] = []
    asked = engine("graphed", said=said)
    assert epochs(asked) == epochs(engine("eager"))
    assert asked.form == "eager"
    [line] = said
    assert line.startswith("no CUDA graph")


def test_a_step_is_recorded_once_after_its_warm_up_and_reads_what_each_batch_holds():
    sums, recorded, replayed = torch.zeros(()), [], []

    def record(run, generators):
        recorded.append(len(seen))
        return lambda: (replayed.append(1), run())

    seen: list[int] = []

    def step(pixels: Tensor, labels: Tensor) -> None:
        seen.append(len(labels))
        sums.add_(pixels.sum())

    fixed = Fixed(step, [], record, lambda error: None)
    for number in range(1, 8):
        fixed(torch.full((2, 1, 4, 4), float(number)), torch.zeros(2, dtype=torch.int64))
    fixed(torch.ones(1, 1, 4, 4), torch.zeros(1, dtype=torch.int64))
    assert sums == 32 * sum(range(1, 8)) + 16
    assert recorded == [WARM_UP]
    assert len(replayed) == 7 - WARM_UP
    assert seen == [2] * 7 + [1]


def test_running_out_of_memory_while_capturing_is_told_to_the_caller():
    def record(run, generators):
        raise torch.OutOfMemoryError("CUDA out of memory")

    fixed = Fixed(lambda pixels, labels: None, [], record, lambda error: None)
    batch = torch.ones(1, 1, 4, 4), torch.zeros(1, dtype=torch.int64)
    for _ in range(WARM_UP):
        fixed(*batch)
    with pytest.raises(torch.OutOfMemoryError):
        fixed(*batch)


def test_repeating_is_running_again():
    runs: list[int] = []
    again = repeat(lambda: runs.append(1), [])
    again()
    again()
    assert runs == [1, 1]
