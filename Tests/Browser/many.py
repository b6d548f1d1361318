"""A person at the dashboard of a cluster with many apps.

usage: many.py URL COUNT APP
  URL    a node's API
  COUNT  of all apps, more than fit on a screen
  APP    one whose name begins as no other's does
"""
import sys

from chromium import Chromium

url, count, app = sys.argv[1:]
rows = "document.querySelectorAll('.row').length"

page = Chromium()
try:
    page.open(url + "/ui")
    page.wait("all apps are counted", f"document.querySelector('#count-apps')?.textContent === '{count}'")
    # Only the rows that can be seen exist, at both ends of the list.
    page.wait("a screenful of rows", f"{rows} > 5 && {rows} < 60")
    page.key("k")
    page.wait("the last app is chosen and in sight",
              f"document.querySelector('.row.selected')?.getAttribute('aria-rowindex') === '{int(count) + 1}'")
    page.wait("a screenful of rows at the end", f"{rows} > 5 && {rows} < 60")
    page.click("button.filter", "Need attention")
    page.wait("only those in need are listed", f"{rows} === 1")
    page.click("button.filter", "All")
    page.key("/")
    page.wait("the search has the focus", "document.activeElement?.id === 'search'")
    page.type(app)
    page.wait("one is found", f"{rows} === 1")
    page.key("Enter")
    page.wait("it is opened", f"document.querySelector('h1').textContent === '{app}'")
finally:
    page.close()
