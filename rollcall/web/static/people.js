// Names that a field suggests while somebody types, and arrow keys in the year of days.
"use strict";
(() => {
  // --- <input data-suggest list="names">: the options of the <datalist> come from the server
  let timer = 0;
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!field.matches?.("input[data-suggest]")) return;
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const typed = field.value;
      // With this header, the answer to somebody who is signed out is 401 instead of the form.
      const answer = await fetch(`/people/names?name=${encodeURIComponent(typed)}`, { headers: { "HX-Request": "true" } }).catch(() => null);
      if (!answer?.ok || field.value !== typed) return; // an answer about earlier letters may come last
      document.getElementById(field.getAttribute("list")).innerHTML = await answer.text();
    }, 150);
  });

  // --- the year: one stop of the Tab key, and arrow keys from day to day
  const days = Array.from(document.querySelectorAll("svg.year a"));
  const start = days.find((day) => day.hasAttribute("aria-current")) || days[days.length - 1];
  const makeCurrent = (day) => days.forEach((each) => each.setAttribute("tabindex", each === day ? "0" : "-1"));
  if (start) makeCurrent(start);
  const scroller = document.querySelector(".year-scroll");
  if (scroller && start) scroller.scrollLeft = start.getBoundingClientRect().left - scroller.getBoundingClientRect().left - scroller.clientWidth / 2;
  const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
  document.addEventListener("keydown", (event) => {
    const at = days.indexOf(document.activeElement);
    const day = days[at + (STEPS[event.key] || 0)];
    if (at < 0 || !STEPS[event.key] || !day) return;
    event.preventDefault();
    makeCurrent(day);
    day.focus();
  });
})();
