// Brings the page up to date when the store changes, without moving what is read: the part below the header is taken
// from the same address again, with what was unfolded left unfolded, and where it was scrolled to.
"use strict";
(() => {
  const live = document.getElementById("live");
  const main = () => document.querySelector("main");
  let known = document.documentElement.dataset.version;
  let busy = false, again = false;

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const open = new Set([...document.querySelectorAll("details[open]")].map(place));
        const focused = document.activeElement && document.activeElement.closest("form");
        if (!focused) {
          const [x, y] = [scrollX, scrollY];
          main().replaceWith(page.querySelector("main"));
          for (const part of document.querySelectorAll("details")) part.open = open.has(place(part));
          scrollTo(x, y);
        }
        document.title = page.title;
        known = page.documentElement.dataset.version;
        live.textContent = "up to date, " + new Date().toLocaleTimeString();
      }
    } catch (_) { live.textContent = "no answer from milepost serve"; }
    busy = false;
    if (again) { again = false; refresh(); }
  }

  function place(part) {
    const before = [];
    for (let one = part; one && one !== main(); one = one.parentElement) {
      before.push([...one.parentElement.children].filter((item) => item.tagName === one.tagName).indexOf(one));
    }
    return before.join(".") + (part.querySelector("summary")?.textContent ?? "");
  }

  function listen() {
    const events = new EventSource(document.documentElement.dataset.events);
    events.onmessage = (event) => { if (event.data !== known) refresh(); };
    events.onopen = () => { live.textContent = "live"; };
    events.onerror = () => { live.textContent = "waiting for milepost serve"; };
  }
  listen();
})();
