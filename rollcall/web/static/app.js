// What all pages share: htmx requests, times, keys, copy buttons, the foot line, and lists that
// update without moving anything under the pointer.
"use strict";
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const foot = () => document.getElementById("foot");

  // --- requests of htmx
  // A part that is polled sends the ETag of its last answer; on 304 nothing is swapped.
  const etags = new WeakMap();

  function isPoll(event) {
    return !event.detail.triggeringEvent && /every/.test(event.target.getAttribute?.("hx-trigger") || "");
  }

  document.addEventListener("htmx:configRequest", (event) => {
    const { headers, elt, verb } = event.detail;
    headers["X-CSRFToken"] = document.querySelector("meta[name=csrf-token]").content;
    if (verb === "get" && etags.has(elt)) headers["If-None-Match"] = etags.get(elt);
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && isPoll(event)) event.preventDefault();
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target, requestConfig } = event.detail;
    const etag = xhr.getResponseHeader("ETag");
    if (xhr.status === 200 && etag && requestConfig) etags.set(requestConfig.elt, etag);
    if (event.detail.shouldSwap && target.matches("[data-live]") && !target.dataset.showAll) {
      event.detail.shouldSwap = !updateInPlace(target, event.detail.serverResponse);
    }
  });

  document.addEventListener("htmx:afterSwap", () => refresh());
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.xhr?.status) all("#foot .offline").forEach((line) => line.remove());
  });
  document.addEventListener("htmx:sendError", () => say("The server does not answer. This page tries again.", "offline"));
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr } = event.detail;
    if (xhr.status === 401) return location.reload(); // the session has ended
    const page = new DOMParser().parseFromString(xhr.responseText, "text/html");
    say(page.querySelector("main p")?.textContent || `The server answered ${xhr.status}.`, "refused");
  });

  // --- lists that update: <div data-live="video|videos" hx-get="..." hx-trigger="every 2s">
  // with rows <... data-row id="...">, possibly in a <div data-rows>. Rows that exist are updated where they are. New rows appear
  // at once if nobody points at the list; otherwise a button announces them.
  function updateInPlace(list, html) {
    const next = new DOMParser().parseFromString(`<div>${html}</div>`, "text/html").body.firstChild;
    const rows = all("[data-row][id]", next);
    const added = rows.filter((row) => !document.getElementById(row.id));
    const box = list.querySelector("[data-rows]") || list;
    const held = box.matches(":hover") || list.matches(":focus-within") || list.getBoundingClientRect().top < 0;
    if (!held || !all("[data-row]", list).length) {
      if (added.length) announce(list, added.length);
      return false;
    }
    for (const row of rows) {
      const old = document.getElementById(row.id);
      if (old && !old.matches(":focus-within") && withoutTimes(old) !== withoutTimes(row)) {
        old.replaceChildren(...row.childNodes);
        old.className = row.className;
        htmx.process(old);
      }
    }
    for (const part of all("[data-part]", next)) {
      const old = list.querySelector(`[data-part="${part.dataset.part}"]`);
      if (old && !old.matches(":focus-within")) old.replaceWith(part);
    }
    showNews(list, added.length, html);
    refresh();
    return true;
  }

  function withoutTimes(row) { // their texts depend on the browser
    return row.innerHTML.replace(/(<time[^>]*?)( title="[^"]*")?>[^<]*/g, "$1>");
  }

  function text(list, count) {
    const [one, many] = list.dataset.live.split("|");
    return `${count} new ${count === 1 ? one : many}`;
  }

  function announce(list, count) {
    let line = document.getElementById("announcement");
    if (!line) {
      line = Object.assign(document.createElement("div"), { id: "announcement", className: "hidden-text" });
      line.setAttribute("role", "status");
      document.body.append(line);
    }
    line.textContent = text(list, count);
  }

  function showNews(list, count, html) {
    list.querySelector(".news")?.remove();
    if (!count) return;
    const button = Object.assign(document.createElement("button"), { className: "button primary small news", type: "button", textContent: text(list, count) });
    button.addEventListener("click", () => {
      list.innerHTML = html;
      htmx.process(list);
      refresh();
    });
    (list.querySelector("[data-rows]") || list).prepend(button);
    announce(list, count);
  }

  // --- times in the browser's language, kept current
  const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "narrow" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

  function timeText(at) {
    const age = (Date.now() - at) / 1000;
    if (age < -60 || age >= 7 * 86400) return day.format(at);
    for (const [unit, seconds] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
      if (age >= 2 * seconds || (unit === "day" && age >= seconds)) return relative.format(-Math.floor(age / seconds), unit);
    }
    return relative.format(-Math.max(0, Math.floor(age)), "second");
  }

  function refresh() {
    refreshCounts();
    for (const element of all("time[datetime]")) {
      const at = new Date(element.dateTime);
      if (isNaN(at)) continue;
      element.title = exact.format(at);
      const shown = element.dataset.exact === undefined ? timeText(at) : day.format(at);
      if (element.textContent !== shown) element.textContent = shown;
    }
  }

  // A part that updates may have new counts for the navigation.
  function refreshCounts() {
    for (const { dataset, textContent } of all("[data-count]")) {
      const count = document.querySelector(`.bar nav a[href="${dataset.count}"] .count`);
      if (!count) continue;
      count.textContent = textContent;
      count.hidden = !textContent;
    }
  }

  // --- the foot line
  function say(message, kind) {
    const line = document.createElement("div");
    line.className = kind;
    const words = Object.assign(document.createElement("span"), { textContent: message });
    const close = Object.assign(document.createElement("button"), { type: "button", className: "button quiet", textContent: "✕" });
    close.setAttribute("aria-label", "Close this line");
    close.dataset.close = "#foot";
    line.append(words, close);
    foot().replaceChildren(line);
  }

  // --- clicks
  async function copy(button) {
    const { parentElement: box, dataset } = button;
    try {
      await navigator.clipboard.writeText(dataset.copy);
      button.textContent = "Copied";
    } catch { // not allowed, or the page is not on https or this machine
      getSelection().selectAllChildren(box.querySelector("code") || box);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 3000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-copy], [data-close], [data-toggle-keys]");
    if (!button) return;
    if (button.dataset.copy !== undefined) copy(button);
    else if (button.dataset.close) document.querySelector(button.dataset.close)?.replaceChildren();
    else document.getElementById("keys").showModal();
  });

  // A form with data-check-all has a checkbox that checks all others.
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("[data-check-all]")) return;
    all("input[type=checkbox]", event.target.form).forEach((box) => { box.checked = event.target.checked; });
  });

  // A picture that cannot be shown leaves the initial behind it.
  document.addEventListener("error", (event) => {
    if (event.target.matches?.(".face img")) event.target.remove();
  }, true);

  // --- keys
  const typing = (element) => element.matches("input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]");

  function move(step) {
    const rows = all("[data-row]").filter((row) => row.offsetParent);
    const current = rows.findIndex((row) => row.contains(document.activeElement));
    const row = rows[current < 0 ? (step > 0 ? 0 : rows.length - 1) : current + step];
    if (!row) return;
    const inner = row.matches("a, button, [tabindex]") ? row : row.querySelector("a[href], button");
    inner?.focus();
    row.scrollIntoView({ block: "nearest" });
  }

  const KEYS = {
    "/": () => {
      const field = document.querySelector(".search input");
      field.focus();
      field.select();
    },
    j: () => move(1),
    k: () => move(-1),
    "?": () => document.getElementById("keys").showModal(),
    Escape: () => {
      const back = document.querySelector("a[data-back]");
      if (back) back.click();
    },
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    if (typing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const action = KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  window.rollcall = { say, refresh };
  refresh();
  setInterval(refresh, 5000);
})();
