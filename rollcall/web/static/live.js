// The requests of htmx, and lists that update without moving anything under the pointer.
"use strict";
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

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
    if (!event.detail.shouldSwap || !target.matches("[data-live]")) return;
    noteUnfolded(target);
    event.detail.shouldSwap = !updateInPlace(target, event.detail.serverResponse);
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    restoreUnfolded(event.detail.target);
    rollcall.refresh();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) all("#foot .offline").forEach((line) => line.remove());
  });
  for (const name of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, (event) => {
      const next = isPoll(event) ? "This page tries again." : "Load the page again to see whether the change was made.";
      rollcall.say(`The server does not answer. ${next}`, "offline");
    });
  }
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr } = event.detail;
    if (xhr.status === 401) return location.reload(); // the session has ended
    const page = new DOMParser().parseFromString(xhr.responseText, "text/html");
    rollcall.say(page.querySelector("main p")?.textContent || `The server answered ${xhr.status}.`, isPoll(event) ? "offline" : "refused");
  });

  // --- lists that update: <div data-live="video|videos" hx-get="..." hx-trigger="every 2s">
  // with rows <... data-row id="...">, possibly in a <div data-rows>. Rows that exist are updated
  // where they are. New rows appear at once if nobody uses the list; otherwise a button announces
  // them.
  function isUsed(list) {
    const selection = getSelection();
    return (list.querySelector("[data-rows]") || list).matches(":hover")
      || list.matches(":focus-within")
      || (!selection.isCollapsed && selection.containsNode(list, true))
      || list.getBoundingClientRect().top < 0;
  }

  function updateInPlace(list, html) {
    const next = new DOMParser().parseFromString(`<div>${html}</div>`, "text/html").body.firstChild;
    const rows = all("[data-row][id]", next);
    const added = rows.filter((row) => !document.getElementById(row.id));
    if (!isUsed(list) || !all("[data-row]", list).length) {
      if (added.length) announce(list, added.length);
      return false;
    }
    for (const row of rows) {
      const old = document.getElementById(row.id);
      if (!old || isSame(old, row) || isTouched(list, old)) continue;
      old.replaceChildren(...row.childNodes);
      old.className = row.className;
      htmx.process(old);
    }
    for (const part of all("[data-part]", next)) {
      const old = list.querySelector(`[data-part="${CSS.escape(part.dataset.part)}"]`);
      if (old && !isSame(old, part) && !isTouched(list, old)) old.replaceWith(part);
    }
    showNews(list, added.length, html);
    rollcall.refresh();
    return true;
  }

  // Whether the element has the focus or selected text, so that it has to wait. Then the answer is
  // asked for again, although nothing changes in the meantime.
  function isTouched(list, element) {
    const selection = getSelection();
    const touched = element.matches(":focus-within") || (!selection.isCollapsed && selection.containsNode(element, true));
    if (touched) etags.delete(list);
    return touched;
  }

  // Lists that somebody has opened or closed stay so.
  let unfolded = new Map();

  function noteUnfolded(list) {
    unfolded = new Map(all("details[id]", list).map((each) => [each.id, each.open]));
  }

  function restoreUnfolded(list) {
    for (const each of all("details[id]", list)) each.open = unfolded.get(each.id) ?? each.open;
    unfolded = new Map();
  }

  // The texts of times depend on the browser, and each answer has its own token for forms.
  function isSame(old, next) {
    const [before, after] = [old, next].map((each) => each.innerHTML
      .replace(/(<time[^>]*?)( title="[^"]*")?>[^<]*/g, "$1>")
      .replace(/name="csrf_token" value="[^"]*"/g, ""));
    return before === after;
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
    const said = text(list, count);
    if (line.textContent !== said) line.textContent = said;
  }

  const latest = new WeakMap(); // the newest answer about a list that waits for a click

  function showNews(list, count, html) {
    const shown = list.querySelector(".news");
    latest.set(list, html);
    if (!count) return shown?.remove();
    const button = shown || newsButton(list);
    button.textContent = text(list, count);
    announce(list, count);
  }

  function newsButton(list) {
    const button = Object.assign(document.createElement("button"), { className: "button primary small news", type: "button" });
    button.addEventListener("click", () => {
      noteUnfolded(list);
      list.innerHTML = latest.get(list);
      restoreUnfolded(list);
      htmx.process(list);
      rollcall.refresh();
    });
    (list.querySelector("[data-rows]") || list).prepend(button);
    return button;
  }
})();
