"""The report in a browser: silent, from the disk alone, figures drawn when they are asked for."""

import asyncio
from pathlib import Path

import pytest
from windows import window

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from orchestrator.figures.export import find_browser
from results_schema.errors import MachineError

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

EXPERIMENT = """
title: A title
claim: A claim.
grid: {genotype: [DARTS], dataset: [digits], seed: [0, 1, 2]}
network: {cells: 3, channels: 2}
recipe: {epochs: %d, batch_size: 480}
figures: {curves: convergence}
tables: {sizes: parameters}
"""


@pytest.fixture
def reported(run, trained, tmp_path) -> Path:
    """A store's folder of reports: one in a folder, and one that is a single file."""
    try:
        find_browser()
    except MachineError as error:
        pytest.skip(str(error))
    epochs = trained.specs[0].recipe.epochs
    (tmp_path / "small.yaml").write_text(EXPERIMENT % epochs)
    record(load_experiment(tmp_path / "small.yaml"), trained.store)
    for arguments in (("--to", "folder"), ("--single", "--to", "one/index.html")):
        code, _, errors = run("report", "small", *arguments)
        assert code == 0, errors
    return tmp_path


DRAWN = "document.querySelectorAll('.scatterlayer .trace').length"


async def look(folder: Path, asked: str) -> list[str]:
    """Clicks on the figure and waits for what comes of it."""
    async with window(folder.as_uri() + "/", "index.html") as page:
        await page.until("document.readyState == 'complete'")
        assert "A claim." in await page.call("document.body.innerText")
        assert await page.call("document.querySelector('img').naturalWidth") > 1000
        assert not await page.call("document.querySelectorAll('iframe, .trace').length")
        await page.call("document.querySelector('figure.drawn summary').click()")
        await page.until(asked)
        return page.complaints


def test_a_picture_is_shown_and_the_figure_drawn_when_asked_for(reported):
    async def open_page(folder: Path, name: str) -> list[str]:
        async with window(folder.as_uri() + "/", name) as page:
            await page.until(DRAWN)
            return page.complaints

    framed = "document.querySelector('iframe').src.endsWith('/curves.html')"
    assert asyncio.run(look(reported / "folder", framed)) == []
    assert asyncio.run(open_page(reported / "folder", "curves.html")) == []
    assert asyncio.run(look(reported / "one", DRAWN)) == []
