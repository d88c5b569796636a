"""Pictures of every page of the dashboard, light and dark, from a real run, into docs/img/.

Starts an embedded store, real workers and `procession web` in a folder of its own. Needs Chromium; CHROMIUM says where.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

IMAGES = Path(__file__).parent / "img"
SHOP = """
import random, time
from procession import Discard, Procession, Retry, current_job

app = Procession()

@app.job(queue="mail", retry=Retry(attempts=4))
def send_mail(to: str, subject: str = "your order") -> dict[str, str]:
    current_job().log.info("to %s", to)
    current_job().progress(0.5, "handed over")
    time.sleep(random.uniform(0.2, 0.8))
    if random.random() < 0.2:
        raise TimeoutError(f"the gateway did not answer for {to}")
    return {"sent to": to, "subject": subject}

@app.job(queue="billing", retry=False)
def charge_card(user: int, amount: float) -> str:
    time.sleep(random.uniform(0.2, 1.2))
    if random.random() < 0.2:
        raise KeyError("sku")
    if random.random() < 0.1:
        raise Discard("the order was cancelled")
    return "charged"

@app.cron("30 3 1 * *", name="monthly figures", args=("2026-11",), tz="Europe/Paris")
@app.every("1h", name="hourly figures", args=("now",))
@app.job(queue="reports")
def monthly_report(month: str) -> int:
    return len(month)

def fill():
    app.enqueue_many(charge_card.bind(user, 9.5) for user in range(200))
    app.enqueue_many(send_mail.bind(f"ada{n}@example.org") for n in range(300))
    app.enqueue_many(send_mail.using(delay="10m").bind(f"eve{n}@example.org") for n in range(12))
    app.enqueue_many(monthly_report.bind("2026-11") for _ in range(3))
"""


def main() -> None:
    """Fill a store, let it move, take the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="procession-shots-") as home, ExitStack() as stack:
        Path(home, "shop.py").write_text(SHOP)
        environment = {**os.environ, "PROCESSION_HOME": home, "PROCESSION_URL": "embedded"}

        def run(*words: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=home, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        run("-c", "import shop; shop.fill(); shop.app.close()").wait()
        why = ["--reason", "until the month is closed", "--by", "ann"]
        run("-m", "procession", "queues", "pause", "reports", *why).wait()
        run("-m", "procession", "jobs", "cancel", "--filter", "queue:mail state:delayed", "--yes").wait()
        stop = [sys.executable, "-m", "procession", "server", "stop"]
        stack.callback(subprocess.run, stop, cwd=home, env=environment)
        run("-m", "procession", "worker", "shop:app", "--threads", "6")
        web = run("-m", "procession", "web", "--port", "0")
        assert web.stdout is not None
        address = web.stdout.readline().rstrip().split()[-1]
        with sync_playwright() as driver:
            path = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = driver.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"])
            take(browser, address)
            browser.close()


def take(browser: Browser, address: str) -> None:
    """Every page in both themes."""
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 860})  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(address)
        time.sleep(20 if scheme == "light" else 6)  # so that there is something on the chart
        page.screenshot(path=IMAGES / f"overview-{scheme}.png")
        for name, path in (
            ("jobs", "jobs?state=failed"),
            ("bulk", "bulk?do=retry&state=failed"),
            ("names", "names?span=15m"),
            ("queues", "queues"),
            ("queue", "queue?queue=billing"),
            ("errors", "errors"),
            ("schedules", "schedules"),
            ("schedule", "schedule?schedule=monthly+figures"),
            ("workers", "workers"),
            ("trail", "trail"),
        ):
            page.goto(address + path)
            if name != "bulk":
                expect(page.locator("#status-text")).to_have_text("Live")
            page.screenshot(path=IMAGES / f"{name}-{scheme}.png")
        page.goto(f"{address}workers")
        page.locator("table a[href*='/workers/']").first.click()
        expect(page.locator("#status-text")).to_have_text("Live")  # a stack would name folders of this machine
        page.screenshot(path=IMAGES / f"worker-{scheme}.png")
        page.goto(f"{address}jobs?state=failed")
        page.locator("[data-open]").first.click()
        expect(page.locator("#status-text")).to_have_text("Live")
        page.locator("details.error > summary").first.click()  # its frames name folders of this machine
        page.screenshot(path=IMAGES / f"job-{scheme}.png")
        page.get_by_role("link", name="Edit and retry").click()
        page.screenshot(path=IMAGES / f"edit-{scheme}.png")
        context.close()


if __name__ == "__main__":
    main()
