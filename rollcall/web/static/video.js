// The page of one video: lanes that move the player, keys, boxes over the picture, hover pictures.
"use strict";
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const player = document.getElementById("player");
  const SVG = "http://www.w3.org/2000/svg";
  const NEAR_S = 0.6; // a box is shown so long before and after the look in which it was found
  let still_s = 0; // the time that was chosen where there is no player
  let looks = new Map(); // the faces by the time of their look
  let times = [];
  let labels = {};
  let gone = false; // whether the video has been deleted
  let asked = 0; // how often the boxes were asked for

  const facts = () => document.getElementById("facts");
  const length_s = () => Number(facts()?.dataset.length) || 1;
  const now_s = () => (player ? player.currentTime : still_s);
  const start_of = (bar) => Number(bar.dataset.start);
  const bars = (root = document) => all(".lane-bars [data-start]", root);

  // --- times
  function jump(time_s) {
    still_s = time_s;
    if (player) player.currentTime = time_s;
    show();
  }

  function show() {
    const line = document.querySelector(".playhead");
    if (line) line.style.left = `${Math.min(1, now_s() / length_s()) * 100}%`;
    drawBoxes();
  }

  // Only one bar of a lane is a stop of the Tab key.
  function choose(bar, focus = true) {
    all("[tabindex='0']", bar.parentNode).forEach((each) => each.setAttribute("tabindex", "-1"));
    bar.setAttribute("tabindex", "0");
    if (focus) bar.focus({ preventScroll: false });
    jump(start_of(bar));
  }

  // --- lanes
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-jump]");
    if (button) {
      jump(Number(button.dataset.jump));
      player?.scrollIntoView({ block: "nearest" });
      return;
    }
    const lane = event.target.closest?.(".lane-bars");
    if (!lane) return;
    const box = lane.getBoundingClientRect();
    // A screen reader's click has no place.
    const time_s = event.detail ? ((event.clientX - box.left) / box.width) * length_s() : NaN;
    const bar = event.target.closest("[data-start]");
    if (bar && !(time_s >= start_of(bar) && time_s <= Number(bar.dataset.end))) return choose(bar);
    if (bar) {
      choose(bar);
      return jump(time_s);
    }
    const near = nearest(bars(lane), time_s);
    if (near) choose(near);
  });

  function nearest(candidates, time_s) {
    const gap = (bar) => Math.max(start_of(bar) - time_s, time_s - Number(bar.dataset.end), 0);
    return candidates.reduce((best, bar) => (!best || gap(bar) < gap(best) ? bar : best), null);
  }

  // --- keys
  const NATIVE = "input, textarea, select, video, [contenteditable]";
  const BUTTONS = "a, button, summary, label";

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (document.querySelector("dialog[open]") || event.target.matches(NATIVE)) return;
    const bar = event.target.closest(".lane-bars [data-start]");
    const handled = bar ? keyInLane(event.key, bar) : keyOutside(event.key, event.target);
    if (handled) event.preventDefault();
  });

  function keyInLane(key, bar) {
    const own = bars(bar.parentNode);
    const lanes = all(".lane").filter((lane) => bars(lane).length);
    const lane = lanes.indexOf(bar.closest(".lane"));
    const other = { ArrowUp: lanes[lane - 1], ArrowDown: lanes[lane + 1] }[key];
    const next = {
      ArrowLeft: own[own.indexOf(bar) - 1],
      ArrowRight: own[own.indexOf(bar) + 1],
      Home: own[0],
      End: own[own.length - 1],
      Enter: bar,
    }[key] || (other && nearest(bars(other), start_of(bar)));
    if (next) choose(next);
    if (key === " ") play();
    return next || ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", " "].includes(key);
  }

  function keyOutside(key, target) {
    if (key === " " && !target.closest(BUTTONS)) return play();
    if (key !== "ArrowLeft" && key !== "ArrowRight") return false;
    const sorted = bars().sort((one, other) => start_of(one) - start_of(other));
    const found = key === "ArrowRight"
      ? sorted.find((bar) => start_of(bar) > now_s() + 0.05)
      : sorted.reverse().find((bar) => start_of(bar) < now_s() - 0.05);
    if (found) choose(found, false);
    return Boolean(found);
  }

  function play() {
    if (!player) return false;
    if (player.paused) player.play().catch(() => {});
    else player.pause();
    return true;
  }

  // --- boxes over the picture
  function drawBoxes() {
    const drawing = document.querySelector(".boxes");
    if (!drawing || !player.videoWidth) return;
    const time_s = now_s();
    const look_s = nearestLook(time_s);
    const shown = Math.abs(look_s - time_s) <= NEAR_S ? looks.get(look_s) : [];
    const key = shown.length ? String(look_s) : "";
    if (drawing.dataset.shown === key) return;
    drawing.dataset.shown = key;
    drawing.setAttribute("viewBox", `0 0 ${player.videoWidth} ${player.videoHeight}`);
    const drawn = shown.map(boxOf);
    drawing.replaceChildren(...drawn.flat());
    placeLabels(drawn);
  }

  // A label stands above or below its box, at the place where it covers the least of other labels
  // and boxes.
  function placeLabels(drawn) {
    const number = (element, name) => Number(element.getAttribute(name));
    const boxes = drawn.map(([rect]) => ["x", "y", "width", "height"].map((name) => number(rect, name)));
    const labels = [];
    for (const [place, [, label]] of drawn.entries()) {
      const [x, y, width, height] = boxes[place];
      const size = number(label, "font-size");
      const length = label.getComputedTextLength();
      const inPicture = (at) => Math.max(0, Math.min(at, player.videoWidth - length));
      const others = boxes.filter((_, each) => each !== place);
      let best = null;
      for (const baseline of [y - size / 3, y + height + size]) {
        for (const left of [x, x + width - length, x + (width - length) / 2].map(inPicture)) {
          const box = [left, baseline - size, length, size * 1.25];
          const outside = baseline < size || baseline > player.videoHeight ? 10 : 0;
          const cost = outside * length * size + 2 * covered(box, labels) + covered(box, others);
          if (!best || cost < best.cost) best = { cost, box, left, baseline };
        }
      }
      labels.push(best.box);
      label.setAttribute("x", best.left);
      label.setAttribute("y", best.baseline);
    }
  }

  // The area of a box that others cover.
  function covered([x, y, width, height], others) {
    const shared = (start, length, other, otherLength) => Math.max(0, Math.min(start + length, other + otherLength) - Math.max(start, other));
    return others.reduce((sum, [left, top, wide, high]) => sum + shared(x, width, left, wide) * shared(y, height, top, high), 0);
  }

  function nearestLook(time_s) {
    let low = 0;
    let high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < time_s) low = middle + 1;
      else high = middle;
    }
    const [before, after] = [times[low - 1] ?? -Infinity, times[low] ?? Infinity];
    return time_s - before < after - time_s ? before : after;
  }

  function boxOf([, x, y, width, height, person, problem]) {
    const lane = document.querySelector(`[data-lane="${person}"]`);
    const kind = problem ? "unjudged" : /lane-[0-7x]/.exec(lane?.className || "")?.[0] || "lane-x";
    const size = player.videoHeight / 26;
    const rect = make("rect", { class: kind, x, y, width, height, rx: size / 6 });
    const label = make("text", { "font-size": size, "stroke-width": size / 8 });
    label.textContent = problem || (labels[person] ?? "");
    return [rect, label];
  }

  function make(name, attributes) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  // The captions have names, which a correction changes.
  function reloadCaptions() {
    const track = player?.querySelector("track");
    if (track) track.src = `${track.getAttribute("src").split("?")[0]}?at=${Date.now()}`;
  }

  // --- what stands in the way
  const place = document.querySelector("[data-boxes]");

  function note(text) {
    const line = document.querySelector("[data-note]");
    if (!line) return;
    line.textContent = text;
    line.hidden = !text;
  }

  async function loadBoxes() {
    asked += 1;
    const own = asked;
    try {
      const answer = await fetch(place.dataset.boxes);
      if (answer.redirected) return location.reload(); // the session has ended
      if (!answer.ok) return;
      const loaded = await answer.json();
      if (own !== asked) return; // an answer with earlier names may come last
      looks = new Map();
      for (const face of loaded.faces) looks.set(face[0], [...(looks.get(face[0]) || []), face]);
      times = Array.from(looks.keys()); // the server sorts them
      labels = loaded.labels;
      gone = loaded.gone;
      if (gone) hidePlayer();
      note([loaded.problem, loaded.note].filter(Boolean).join(" "));
      document.querySelector(".boxes")?.removeAttribute("data-shown");
      show();
    } catch {
      note("The server does not answer, so no boxes are shown.");
    }
  }

  function explainError() {
    const { code } = player.error || {};
    if (code === MediaError.MEDIA_ERR_NETWORK) note("The video could not be loaded further: the store does not answer, or this page has been open for too long. Load the page again.");
    const unsupported = code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED || code === MediaError.MEDIA_ERR_DECODE;
    document.querySelector("[data-unplayable]").hidden = !unsupported || gone;
    if (!player.videoWidth) document.querySelector(".screen").hidden = true;
  }

  player?.addEventListener("error", explainError);
  if (player?.error) explainError(); // it came before this script

  function hidePlayer() {
    all(".screen, [data-unplayable], .unplayable[data-boxes], [data-download]").forEach((each) => { each.hidden = true; });
    document.querySelector(".video-page").classList.add("gone");
  }

  ["timeupdate", "seeking", "seeked", "loadedmetadata"].forEach((name) => player?.addEventListener(name, show));
  player?.addEventListener("play", function tick() {
    show();
    if (!player.paused) requestAnimationFrame(tick);
  });

  // --- pictures under the pointer
  const peek = Object.assign(document.createElement("img"), { className: "peek", alt: "", hidden: true });
  peek.addEventListener("error", () => { peek.hidden = true; });

  document.addEventListener("pointermove", (event) => {
    const pictures = facts()?.dataset.pictures;
    const bar = pictures && event.target.closest?.(".lane-bars [data-start]");
    if (!bar) {
      peek.hidden = true;
      return;
    }
    const box = bar.parentNode.getBoundingClientRect();
    const time_s = Math.max(0, Math.round(((event.clientX - box.left) / box.width) * length_s()));
    const source = `${pictures}${bar.closest(".lane").dataset.lane}.jpg?t=${time_s}`;
    if (!peek.isConnected) document.body.append(peek);
    if (peek.getAttribute("src") !== source) peek.src = source;
    peek.style.left = `${Math.min(event.clientX + 12, innerWidth - 108)}px`;
    peek.style.top = `${Math.max(8, event.clientY - 112)}px`;
    peek.hidden = false;
  });

  // --- parts that change: nothing that somebody is typing into is replaced
  let tableIsOpen = false;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "facts") return;
    const polled = event.detail.requestConfig?.verb === "get";
    if (polled && document.querySelector("details.verdict[open]")) event.detail.shouldSwap = false;
    // A form that comes back open, with a refused name, would be closed again beside an open one.
    if (!polled && event.detail.shouldSwap) all("details.verdict[open]").forEach((form) => { form.open = false; });
    tableIsOpen = Boolean(document.querySelector("details.as-table[open]"));
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id !== "facts") return;
    const table = document.querySelector("details.as-table");
    if (table && tableIsOpen) table.open = true;
    // The list has a scroll bar of its own, and would hide the answers to a question about a name.
    rollcall.revealRefusal();
    reloadCaptions();
    if (place) loadBoxes();
    show();
  });

  if (place) loadBoxes();
  // Links on other pages open the video at an appearance.
  const asked_s = Number(new URLSearchParams(location.search).get("t"));
  if (asked_s > 0) jump(asked_s);
  else show();
})();
