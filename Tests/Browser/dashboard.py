"""A person at the dashboard of a real cluster: finds an app, sees it scale, reads why, rolls it back.

usage: dashboard.py URL APP OTHER FOLDER
  URL     a node's API
  APP     runs revision 2 with one replica, scales by itself on 10 requests a second and more
  OTHER   another node's API
  FOLDER  where the screenshots go
"""
import json
import sys
import time
import urllib.request

from chromium import Chromium, PageFailure

url, app, other, folder = sys.argv[1:]


def post(path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


began = time.monotonic()


def done(what):
    print(f"ok after {time.monotonic() - began:.0f} s: {what}", flush=True)


def check(what, holds):
    if not holds:
        raise PageFailure(f"not so: {what}\n--- the page:\n{page.text('body')[:4000]}")
    done(what)


page = Chromium()
try:
    page.theme("light")
    page.open(url + "/ui")
    page.wait_text("Live", "#connection")
    page.wait_text(app)
    check("the leader and its epoch are shown", "epoch" in page.text("#leader"))

    # Found and opened without a mouse.
    page.key("/")
    page.wait("the search has the focus", "document.activeElement?.id === 'search'")
    page.type(app)
    page.wait("one row", "document.querySelectorAll('.row').length === 1")
    page.screenshot(folder + "/apps-light.png")
    page.key("Enter")
    page.wait_text("Why it is so")
    page.wait("the hash names the app", f"location.hash === '#/apps/{app}'")
    page.wait_text("ready", ".plain")
    check("one instance is listed", page.evaluate("document.querySelectorAll('.plain tbody tr').length") >= 1)
    page.wait("the app's title", f"document.querySelector('h1').textContent === '{app}'")

    # It scales while somebody looks.
    check("one replica at first", page.evaluate("document.querySelectorAll('.fact dd')[1].textContent") == "1")
    for _ in range(20):
        # One odd second is no reason.
        answer = post(f"/apps/{app}/simulateMetrics", {"rps": 45, "p95LatencyMs": 20, "evaluate": True})
        if answer.get("action"):
            break
        time.sleep(1)
    page.wait("more replicas are wanted", "Number(document.querySelectorAll('.fact dd')[1].textContent) > 1", 20)
    page.wait("a second instance is ready, and listed",
              "[...document.querySelectorAll('.plain .badge.good')].filter((node) => node.textContent === 'ready').length > 1", 60)
    done("it scaled, and was seen to")

    # Why: in words, and at the step in the chart.
    page.wait_text("rps", ".decisions", 20)
    check("the decision is told", "→" in page.text(".decisions"))
    page.wait("the step is marked in the chart", "document.querySelectorAll('circle.decision.up').length > 0")
    page.evaluate("document.querySelector('.chart.wide').scrollIntoView({block: 'center'})")
    page.hover("circle.decision.up")
    page.wait_text("rps", ".tip:not([hidden])", 10)
    check("the step says why", "→" in page.text(".tip:not([hidden])"))
    page.screenshot(folder + "/app-light.png")
    page.theme("dark")
    page.screenshot(folder + "/app-dark.png")
    page.evaluate("window.scrollTo(0, 0)")

    # Pausing asks first, and Escape means no.
    page.click("button", "Pause autoscaling")
    page.wait_text("still replaced", "dialog")
    page.key("Escape")
    page.wait("the dialog is gone", "!document.querySelector('dialog')")
    page.click("button", "Pause autoscaling")
    page.click("dialog button[type=submit]", "Pause")
    page.wait("it is paused", "[...document.querySelectorAll('.actions button')].some((node) => !node.hidden && node.textContent.includes('Resume'))")
    done("autoscaling is paused")

    page.click("button", "Scale…")
    page.wait_text("wanted now", "dialog")
    page.type("2")
    page.key("Enter")
    page.wait("two replicas are wanted", "document.querySelectorAll('.fact dd')[1].textContent === '2'")
    done("scaled by hand")

    # Back to the revision before, with a question in between.
    page.click("button", "Roll back")
    page.wait_text("Back to revision", "dialog")
    page.screenshot(folder + "/rollback-dark.png")
    page.click("dialog button[type=submit]", "Roll back")
    page.wait_text("goes back to revision 1", "#toasts")
    page.wait("revision 3 runs", "document.querySelectorAll('.fact dd')[3].textContent === '3'", 30)
    page.wait_text("healthy", ".title .badge", 90)
    check("no rollout is left", page.evaluate("document.querySelector('.rollout').hidden"))
    page.key("Escape")
    page.wait("the list again", "location.hash === '#/apps'")

    # The other views, from another node too, where everything is the same.
    page.open(other + "/ui#/events")
    page.wait_text("rolled back")
    page.wait_text("scaled")
    page.screenshot(folder + "/events-dark.png")
    page.key("2")
    page.wait_text("Last change of leader")
    page.wait("three nodes", "document.querySelectorAll('.node').length === 3")
    page.wait_text("CPU reserved")
    page.screenshot(folder + "/cluster-dark.png")
    page.open(other + f"/ui#/apps/{app}/logs")
    page.wait_text("Live", ".panel:not([hidden]) .muted")
    page.wait("a line of output", "document.querySelectorAll('.log-line').length > 0", 30)
    done("logs come")

    # A phone.
    page.theme("light")
    page.size(390, 844, phone=True)
    for name, path in [("apps", "#/apps"), ("app", f"#/apps/{app}"), ("cluster", "#/cluster"), ("events", "#/events")]:
        page.open(other + "/ui" + path)
        page.wait_text(app if name.startswith("app") else "controller-1" if name == "cluster" else "scaled")
        check(f"{name} fits a phone", page.evaluate("document.documentElement.scrollWidth") <= 390)
        page.screenshot(f"{folder}/{name}-phone.png")

    page.theme("dark")
    page.key("?")
    page.wait_text("next, previous app", "dialog")
    page.key("Escape")
    # The browser itself found nothing to complain about: no error, and nothing against the content security policy.
    check(f"no complaints: {page.complaints}", not page.complaints)
finally:
    page.close()
