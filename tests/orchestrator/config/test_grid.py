from dataclasses import replace

from experiment_files import edited, refused

from orchestrator.config.experiment import Member, load_experiment
from workers.cells.topology import dead_nodes, reconcat

MEND = "grid.reconcat=true"


def test_a_grid_too_large_to_list_is_refused(folder):
    seeds = f"[{', '.join(map(str, range(3_000)))}]"
    (folder / "x.yaml").write_text(edited("[0, 1]", seeds))
    assert refused() == "x.yaml:3: the grid has 120,000 trials\n  stay within 100,000"


def test_a_base_without_the_variants_is_blamed_on_whoever_named_it(folder):
    (folder / "x.yaml").write_text(edited("[DARTS, SNAS]", "\n  - DARTS\n  - ENAS"))
    told = refused(overrides=["grid.genotype=[DARTS, SNAS_ADAPT]", "grid.variants=paper10"])
    assert told.startswith("--set grid.variants=paper10: grid.variants: SNAS_ADAPT has no conn")
    (folder / "x.yaml").write_text(edited("paper4", "paper10"))
    assert refused().startswith("x.yaml:4: grid.variants: SNAS has no")


def plain_and_mended(*overrides: str) -> tuple[list[Member], list[Member]]:
    plain = load_experiment("x.yaml", overrides=overrides)
    return plain.members(), load_experiment("x.yaml", overrides=[*overrides, MEND]).members()


def test_reconcat_mends_every_cell_after_its_variants_are_drawn(folder):
    plain, mended = plain_and_mended("grid.genotype=[AmoebaNet, AmoebaNet_ADAPT]")
    assert any(dead_nodes(member.spec.genotype.normal) for member in plain)
    for before, after in zip(plain, mended, strict=True):
        assert replace(after, spec=before.spec) == before
        assert after.spec.genotype == reconcat(before.spec.genotype)
        for cell in (after.spec.genotype.normal, after.spec.genotype.reduce):
            assert not dead_nodes(cell)


def test_reconcat_keeps_the_trials_of_cells_without_dead_nodes(folder):
    plain, mended = plain_and_mended("grid.genotype=[DARTS]", "grid.variants=paper13")
    assert mended == plain


def test_reconcat_is_yes_or_no(folder):
    (folder / "x.yaml").write_text(edited("paper4", "paper4\n  reconcat: 1"))
    assert refused() == "x.yaml:6: grid.reconcat is 1, not true or false"
