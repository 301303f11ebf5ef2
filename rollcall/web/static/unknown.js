// Keys for the groups of unknown faces. They work on the selected group: the one with the focus, or
// the first one in view.
"use strict";
(() => {
  const groups = () => Array.from(document.querySelectorAll("[data-group]"));
  const selected = () => document.activeElement?.closest?.("[data-group]");

  function select(group) {
    group?.focus();
    group?.scrollIntoView({ block: "nearest" });
  }

  function move(step) {
    const all = groups();
    const at = all.indexOf(selected());
    select(at < 0 ? all[step > 0 ? 0 : all.length - 1] : all[at + step]);
  }

  // A key never changes a group that is out of sight.
  function firstInView() {
    const boxes = groups().map((group) => ({ group, box: group.getBoundingClientRect() }));
    const begins = boxes.find(({ box }) => box.top >= 0 && box.top < innerHeight);
    const group = (begins || boxes.find(({ box }) => box.bottom > 0))?.group;
    if (group) select(group);
    return group;
  }

  const press = (selector) => (group) => group.querySelector(selector)?.click();
  const KEYS = {
    n: (group) => group.querySelector("input[name=name]")?.focus(),
    a: press("[data-add]"),
    i: press("[data-ignore]"),
    x: press("input[name=group]"),
    o: press("[data-open]"),
  };

  // These keys change a group at once. Without a selection they only select, so that somebody sees
  // which group it is.
  const CHANGES = "ai";

  // In the capture phase, so that j and k move between groups instead of the rows within them.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input:not([type=checkbox]), textarea, select")) return;
    const step = { j: 1, k: -1 }[event.key];
    const action = KEYS[event.key];
    if (!step && !action) return;
    event.preventDefault();
    if (step) return move(step);
    if (event.repeat) return;
    const before = selected();
    const group = before || firstInView();
    if (group && (before || !CHANGES.includes(event.key) || groups().length === 1)) action(group);
  }, true);

  // After a change, the keyboard goes on at the group that follows. The changed one is not shown, so
  // the next one has its place.
  const PLACE = "rollcall-changed-group";
  document.addEventListener("submit", (event) => {
    const at = groups().indexOf(event.target.closest("[data-group]"));
    if (at >= 0) sessionStorage.setItem(PLACE, at);
  });
  const changed = sessionStorage.getItem(PLACE);
  sessionStorage.removeItem(PLACE);
  if (changed !== null && !document.querySelector("[autofocus]")) select(groups()[changed] || groups().at(-1));

  // When all videos have followed a change, the groups are read again, unless somebody is at work
  // on them. Then the line with the link stays.
  const atWork = () => document.querySelector("input[name=group]:checked, input[name=other]:checked, details[open]")
    || Array.from(document.querySelectorAll("[data-group] input[name=name]")).some((field) => field.value || field === document.activeElement);
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.elt.matches?.("#main")) return count();
    if (!document.querySelector("#main .pending a") || atWork()) return;
    const was = selected()?.getAttribute("aria-labelledby");
    htmx.ajax("GET", location.pathname + location.search, { source: "#main", target: "#main", select: "#main", swap: "outerHTML" })
      .then(() => document.querySelector(`[aria-labelledby="${was}"]`)?.focus());
  });

  // "Same person" needs two groups.
  function count() {
    const same = document.querySelector("[data-same]");
    if (!same) return;
    const number = document.querySelectorAll("input[name=group]:checked").length;
    same.disabled = number < 2;
    same.textContent = number < 2 ? "Same person: select two groups" : `Same person: join ${number} groups`;
  }
  document.addEventListener("change", (event) => { if (event.target.name === "group") count(); });
  count();
})();
