from experiment_files import edited, refused


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
