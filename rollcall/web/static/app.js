// What all pages share: times, keys, copy buttons, and the line at the foot.
"use strict";
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const foot = () => document.getElementById("foot");

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

  // The line covers the end of the window. What gets the keyboard is scrolled clear of it.
  let room = 0;
  function makeRoom() {
    const before = room;
    room = foot().childElementCount ? innerHeight - foot().getBoundingClientRect().top + 8 : 0;
    document.documentElement.style.setProperty("--foot", `${room}px`);
    // Only what the line has just covered. Somebody may have scrolled away from the rest.
    if (room > before && document.activeElement?.getBoundingClientRect().top < innerHeight) clear(document.activeElement);
  }

  function clear(element) {
    if (!element?.matches(":focus-visible") || element.contains(foot()) || foot().contains(element)) return;
    if (!foot().childElementCount || element.closest(".bar, dialog")) return;
    if (element.getBoundingClientRect().bottom > foot().getBoundingClientRect().top) element.scrollIntoView({ block: "nearest" });
  }

  // A line without a button goes away by itself, but not while somebody is at it. What an error
  // asks for stays, and a line whose text still changes has its time after the last change.
  const SHOWN_MS = 10_000;
  let leaves = 0;
  function leaveLater() {
    clearTimeout(leaves);
    if (!foot().childElementCount || foot().querySelector("form, .offline, .refused")) return;
    leaves = setTimeout(() => {
      if (document.hidden || foot().matches(":hover, :focus-within")) leaveLater();
      else foot().replaceChildren();
    }, SHOWN_MS);
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

  // A whole form is scrolled into view, with its buttons; a form that is too high, from its field on.
  function reveal(form, field) {
    form.scrollIntoView({ block: "nearest" });
    field?.scrollIntoView({ block: "nearest" });
  }

  // A form that is opened gets the keyboard.
  document.addEventListener("toggle", (event) => {
    const form = event.target.open && event.target.querySelector(":scope > form");
    const field = form && form.querySelector("input:not([type=hidden])");
    if (!field) return;
    field.focus({ preventScroll: true });
    reveal(form, field);
  }, true);

  // A form that comes back with a reason or a question has its buttons below the field.
  function revealRefusal() {
    const form = document.getElementById("refusal")?.closest("form");
    if (form) reveal(form, form.querySelector("[autofocus]"));
  }

  // A form with data-check-all has a checkbox that checks all others.
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("[data-check-all]")) return;
    all("input[type=checkbox]", event.target.form).forEach((box) => { box.checked = event.target.checked; });
  });

  // A picture that cannot be shown leaves the initial behind it.
  document.addEventListener("error", (event) => {
    if (event.target.matches?.(".face img")) event.target.remove();
  }, true);

  document.addEventListener("focusin", (event) => clear(event.target));
  new MutationObserver(leaveLater).observe(foot(), { childList: true, characterData: true, subtree: true });
  new ResizeObserver(makeRoom).observe(foot());
  addEventListener("resize", makeRoom);
  leaveLater();

  // --- keys
  const typing = (element) => element.matches("input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]");

  const focusable = (row) => (row.matches("a, button, [tabindex]") ? row : row.querySelector("a[href], button"));

  function move(step) {
    const rows = all("[data-row]").filter((row) => row.checkVisibility() && focusable(row));
    const current = rows.findIndex((row) => row.contains(document.activeElement));
    const row = rows[current < 0 ? (step > 0 ? 0 : rows.length - 1) : current + step];
    if (!row) return;
    focusable(row).focus();
    row.scrollIntoView({ block: "nearest" });
  }

  const KEYS = {
    "/": () => {
      const field = document.querySelector(".search input");
      field?.focus();
      field?.select();
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

  window.rollcall = { say, refresh, reveal, revealRefusal };
  refresh();
  revealRefusal();
  setInterval(refresh, 5000);
})();
