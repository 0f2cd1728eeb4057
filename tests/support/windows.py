"""A page in headless Chromium: what it says, what it shows, what it complains of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from choreographer import Browser

from orchestrator.figures.export import find_browser


@dataclass
class Window:
    """One tab.

    Attributes:
        tab: Its handle.
        complaints: Errors and warnings of its console, exceptions, failed and foreign requests.
        address: The only one that the page may ask.
    """

    tab: Any
    address: str
    complaints: list[str] = field(default_factory=list)

    async def call(self, script: str, *, reloading: bool = False) -> Any:
        """What an expression comes to, as JSON can say it.

        Args:
            script: The expression.
            reloading: Whether the page may just load itself anew: then it comes to None.
        """
        options = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = await self.tab.send_command("Runtime.evaluate", options)
        said = answer.get("error", {}).get("message", "")
        if reloading and ("context" in said or "navigated" in said):
            return None
        assert "result" in answer, answer
        found = answer["result"]
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script: str, seconds: float = 100) -> Any:
        """What an expression comes to once it is true."""
        end = time.monotonic() + seconds
        while not (found := await self.call(script, reloading=True)):
            assert time.monotonic() < end, (script, self.complaints)
            await asyncio.sleep(0.05)
        return found

    async def write(self, selector: str, text: str) -> None:
        """Types into a field."""
        await self.call(f"document.querySelector({selector!r}).focus()")
        await self.tab.send_command("Input.insertText", {"text": text})


@asynccontextmanager
async def window(address: str, page: str = "") -> AsyncIterator[Window]:
    """Opens a page below an address, the only one that it may ask; the browser ends with the block.

    Raises:
        MachineError: There is no browser.
    """
    async with Browser(path=find_browser(), headless=True) as browser:
        tab = await browser.create_tab("about:blank")
        opened = Window(tab, address)

        async def console(message: Any) -> None:
            told = message["params"]
            if told["type"] in ("error", "warning", "assert"):
                opened.complaints.append(str([a.get("value", a) for a in told["args"]]))

        async def thrown(message: Any) -> None:
            opened.complaints.append(str(message["params"]["exceptionDetails"]))

        async def logged(message: Any) -> None:
            entry = message["params"]["entry"]
            if entry["level"] in ("error", "warning"):
                opened.complaints.append(f"{entry['text']} {entry.get('url', '')}")

        async def asked(message: Any) -> None:
            url = message["params"]["request"]["url"]
            if not url.startswith((address, "data:", "blob:", "about:")):
                opened.complaints.append(f"asks {url}")

        for event, hear in (
            ("Runtime.consoleAPICalled", console),
            ("Runtime.exceptionThrown", thrown),
            ("Log.entryAdded", logged),
            ("Network.requestWillBeSent", asked),
        ):
            tab.subscribe(event, hear, repeating=True)
        for domain in ("Runtime", "Log", "Network", "Page"):
            await tab.send_command(f"{domain}.enable")
        size = {"width": 1400, "height": 1250, "deviceScaleFactor": 1, "mobile": False}
        await tab.send_command("Emulation.setDeviceMetricsOverride", size)
        await tab.send_command("Page.navigate", {"url": address + page})
        yield opened
