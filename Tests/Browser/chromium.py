"""A headless Chromium, driven by its DevTools protocol over two pipes: JSON texts, each ended by a zero byte."""
import base64
import json
import os
import subprocess
import tempfile
import threading
import time


class PageFailure(Exception):
    """What the page did is not what it should have done."""


class Chromium:
    def __init__(self, width=1280, height=860):
        # Its child processes may still write for a moment after it has ended.
        self.folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        # Chromium reads from descriptor 3 and writes to 4; a shell puts them there.
        command = ["/bin/sh", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "chromium", "chromium",
                   "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--disable-extensions", "--hide-scrollbars", f"--user-data-dir={self.folder.name}",
                   f"--window-size={width},{height}", "about:blank"]
        with open(self.folder.name + ".log", "wb") as log:
            self.process = subprocess.Popen(command, pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        os.close(to_browser)
        os.close(from_browser)
        self._answers, self._number, self._arrived = {}, 0, threading.Condition()
        self.complaints = []
        threading.Thread(target=self._read, daemon=True).start()
        target = self.call("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        self.session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)["sessionId"]
        for domain in ["Page", "Runtime", "Log"]:
            self.call(domain + ".enable")
        self.size(width, height)

    def _read(self):
        rest = b""
        while chunk := os.read(self._from, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                with self._arrived:
                    if "id" in message:
                        self._answers[message["id"]] = message
                    elif message.get("method") == "Runtime.exceptionThrown":
                        self.complaints.append(message["params"]["exceptionDetails"].get("exception", {}).get("description", "?"))
                    elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                        entry = message["params"]["entry"]
                        self.complaints.append(f'{entry["text"]} {entry.get("url", "")}')
                    self._arrived.notify_all()
        with self._arrived:
            self._answers[None] = True
            self._arrived.notify_all()

    def call(self, method, params=None, session=""):
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = session or self.session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        with self._arrived:
            if not self._arrived.wait_for(lambda: number in self._answers or None in self._answers, timeout=60):
                raise PageFailure(f"Chromium does not answer {method}")
            if number not in self._answers:
                raise PageFailure(f"Chromium ended: {open(self.folder.name + '.log').read()[-2000:]}")
            answer = self._answers.pop(number)
        if "error" in answer:
            raise PageFailure(f"{method}: {answer['error']}")
        return answer["result"]

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()
        os.unlink(self.folder.name + ".log")

    # What a person does

    def open(self, url):
        self.call("Page.navigate", {"url": url})

    def size(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride",
                  {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone})

    def theme(self, name):
        self.call("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]})

    def evaluate(self, script):
        result = self.call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in result:
            raise PageFailure(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def text(self, selector="main"):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def wait(self, what, script, limit=30):
        """Until the script's value is truthy, which is returned."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if value := self.evaluate(script):
                return value
            time.sleep(0.1)
        raise PageFailure(f"not within {limit} s: {what}\n--- the page:\n{self.text('body')[:4000]}\n--- complaints: {self.complaints}")

    def wait_text(self, text, selector="main", limit=30):
        self.wait(f"{text!r} in {selector}",
                  f"(document.querySelector({json.dumps(selector)})?.innerText ?? '').includes({json.dumps(text)})", limit)

    def key(self, key):
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else None)
        down = {"type": "keyDown", "key": key, "code": key}
        if key in ("Enter", "Escape", "Tab"):
            down["windowsVirtualKeyCode"] = {"Enter": 13, "Escape": 27, "Tab": 9}[key]
        if text:
            down["text"] = text
        self.call("Input.dispatchKeyEvent", down)
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", "key": key, "code": key})

    def type(self, text):
        for character in text:
            self.key(character)

    def point(self, selector, text=None):
        """The middle of what can be seen of an element."""
        return self.wait(f"{selector} {text or ''} can be seen", f"""(() => {{
            const found = [...document.querySelectorAll({json.dumps(selector)})].find((node) =>
                node.getClientRects().length && (!{json.dumps(text)} || node.textContent.includes({json.dumps(text)})));
            if (!found) return null;
            found.scrollIntoView({{block: 'nearest', inline: 'nearest'}});
            const box = found.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()""")

    def click(self, selector, text=None):
        x, y = self.point(selector, text)
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    def hover(self, selector, text=None):
        x, y = self.point(selector, text)
        self.call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})

    def screenshot(self, path):
        picture = self.call("Page.captureScreenshot", {"format": "png"})["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture))
