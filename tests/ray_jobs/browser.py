"""Headless Chromium over its DevTools protocol: open a page, wait for what a person would see, take a picture."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1400,1100", "--remote-debugging-port=0",
)  # fmt: skip


def look(url, script, picture, headers=None, seconds=60):
    """Open `url`, run `script` until it gives something true, save a picture, and return what it gave."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )  # fmt: skip
        try:
            return asyncio.run(_look(Path(profile), url, script, Path(picture), headers or {}, seconds))
        finally:
            process.terminate()
            process.wait(10)


async def _look(profile, url, script, picture, headers, seconds):
    deadline = time.monotonic() + seconds
    port_file = profile / "DevToolsActivePort"
    while not port_file.exists() or len(port_file.read_text().split()) < 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    port = port_file.read_text().split()[0]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json") as answer:
            target = next(t for t in await answer.json(content_type=None) if t["type"] == "page")
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            number = 0

            async def call(method, **params):
                nonlocal number
                number += 1
                await socket.send_str(json.dumps({"id": number, "method": method, "params": params}))
                while (message := json.loads((await socket.receive(30)).data)).get("id") != number:
                    pass
                return message["result"]

            await call("Network.enable")
            await call("Network.setExtraHTTPHeaders", headers=headers)
            await call("Page.navigate", url=url)
            found = None
            while not found and time.monotonic() < deadline:
                await asyncio.sleep(0.5)
                found = (await call("Runtime.evaluate", expression=script, returnByValue=True))["result"].get(
                    "value"
                )
            await asyncio.sleep(1)  # what was found is still being painted
            shot = await call("Page.captureScreenshot")
            picture.write_bytes(base64.b64decode(shot["data"]))
            if not found:
                text = await call(
                    "Runtime.evaluate", expression="document.body.innerText", returnByValue=True
                )
                raise AssertionError(
                    f"{url}: {script} gave nothing in {seconds} s; the page says {text['result'].get('value', '')[:1000]!r}"
                )
            return found
