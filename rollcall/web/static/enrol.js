// Adding people: photos of one person, or folders with the photos of a person each.
"use strict";
(() => {
  const AT_ONCE = 8; // photos in one request
  const MAX_REQUEST_BYTES = 48 << 20;

  const { isPicture, setFiles, MAX_PHOTOS } = window.rollcall;
  const form = document.querySelector("[data-enrol]");
  const chosen = form.querySelector("[data-chosen]");
  const photos = form.querySelector("#photos");
  const show = (text) => { chosen.textContent = text; };
  const name = form.querySelector("#name");
  const folders = form.querySelector("#folders");
  const rows = document.getElementById("rows");
  const progress = document.querySelector("[data-progress]");
  const maxBytes = Number(form.dataset.maxMb) << 20;
  const WAIT = "Wait until the photos before these are added.";
  const TOO_MANY = `These are more than ${MAX_PHOTOS} photos, so nothing was added. Add them in several parts.`;
  const MAX_NAMES = 20; // people whose names are shown before their photos are sent
  let sending = false;
  let people = new Map(); // the photos of each person in chosen folders, until they are sent
  form.querySelectorAll("[data-folders], [data-folder-hint]").forEach((part) => { part.hidden = false; });
  form.querySelector("[data-most]").textContent = `at most ${MAX_PHOTOS.toLocaleString("en")} at once`;

  folders.addEventListener("change", () => {
    const found = Array.from(folders.files, (file) => ({ file, folders: file.webkitRelativePath.split("/").slice(0, -1) }));
    folders.value = "";
    choose(found.filter(({ file, folders: names }) => isPicture(file) && ![...names, file.name].some((name) => name.startsWith("."))));
  });
  form.addEventListener("dropped", (event) => choose(event.detail, true));
  photos.addEventListener("change", () => describe());
  name.addEventListener("change", () => describe());
  form.addEventListener("reset", () => setTimeout(() => { people = new Map(); refuseName(null); describe(); }));

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (sending) return show(WAIT);
    const found = Array.from(people, ([person, files]) => ({ person, files })).sort((one, other) => one.person.localeCompare(other.person));
    // The answer to a question about the name. `to` is a known person, and `new` a new one.
    const answer = event.submitter?.closest("[data-answers]") && event.submitter;
    if (answer) name.value = answer.value;
    if (photos.files.length) found.push({ person: name.value.trim(), files: Array.from(photos.files), typed: true, field: answer ? answer.name : "name" });
    if (count(found.map(({ files }) => files)) > MAX_PHOTOS) return show(TOO_MANY);
    people = new Map();
    photos.value = "";
    describe();
    refuseName(null);
    send(found);
  });

  // Nothing is sent before somebody has seen whom the folders are about, and presses Add.
  function choose(found, isDrop) {
    if (sending) return show(WAIT);
    if (found.length > MAX_PHOTOS) return show(TOO_MANY);
    const loose = found.filter(({ folders: names }) => !names.length).map(({ file }) => file);
    const { people: inFolders, notes } = peopleOf(found.filter(({ folders: names }) => names.length));
    for (const [person, files] of inFolders) people.set(person, [...(people.get(person) || []), ...files]);
    if (loose.length) setFiles(loose);
    if (!found.length) notes.push("There are no pictures in it.");
    describe(notes);
    if (photos.files.length && !name.value.trim()) name.focus();
    else if (isDrop && found.length) form.querySelector("button.primary").focus();
  }

  const count = (lists) => lists.reduce((sum, { length }) => sum + length, 0);
  const number = (n) => (n === 1 ? "1 photo" : `${n} photos`);

  // What Add would send. The name is needed only for photos without a folder.
  function describe(notes = []) {
    const loose = Array.from(photos.files);
    const names = Array.from(people, ([person, files]) => `${person} (${number(files.length)})`).sort();
    const listed = names.length > MAX_NAMES ? [...names.slice(0, MAX_NAMES), `${names.length - MAX_NAMES} more people`] : names;
    const lines = [];
    if (loose.length && !name.value.trim()) lines.push(`${loose.length === 1 ? loose[0].name : number(loose.length)}: type the name, then press Add.`);
    else if (loose.length && !isAsked()) listed.push(`${name.value.trim()} (${number(loose.length)})`);
    if (listed.length) lines.unshift(`Press Add for ${listed.join(", ")}.`);
    show([...lines, ...notes].join(" "));
    name.required = loose.length > 0 || !people.size;
    photos.required = !people.size;
    form.querySelector("[data-clear]").hidden = !people.size;
  }

  // Whether a reason or a question about the name is open. Nothing says to press Add then.
  const isAsked = () => !form.querySelector("[data-refused-name]").hidden;

  // A name that was not taken, in the form: the reason or the question, and buttons with the answers.
  function refuseName(refused) {
    const line = form.querySelector("[data-refused-name]");
    line.hidden = !refused;
    line.textContent = refused ? refused.sentence : "";
    line.className = `small ${refused?.isQuestion ? "warning" : "danger"}`;
    form.querySelector("[data-answers]").replaceChildren(...(refused?.buttons || []));
    if (refused && !refused.isQuestion) name.setAttribute("aria-invalid", "true");
    else name.removeAttribute("aria-invalid");
  }

  // The photos of each person. A dropped folder is that of a person, or has a folder for each person.
  // Fewer photos than folders beside them are strays, which are left out. With more photos, it is
  // unclear whom they show, and the whole folder is left out.
  function peopleOf(found) {
    const people = new Map();
    const notes = [];
    const outers = new Map(); // the photos directly in each folder, and its folders with photos
    for (const { file, folders: [outer, inner, ...rest] } of found) {
      if (!outers.has(outer)) outers.set(outer, { direct: [], inner: new Set() });
      if (inner === undefined) outers.get(outer).direct.push(file.name);
      else if (!rest.length) outers.get(outer).inner.add(inner);
    }
    const mixed = Array.from(outers, ([outer, each]) => ({ outer, ...each })).filter(({ direct, inner }) => direct.length && inner.size);
    const isStray = ({ direct, inner }) => direct.length < inner.size;
    const withStrays = new Set(mixed.filter(isStray).map(({ outer }) => outer));
    const unclear = new Set(mixed.filter((each) => !isStray(each)).map(({ outer }) => outer));
    let deeper = 0;
    for (const { file, folders: names } of found) {
      const person = names[names.length - 1];
      if (names.length > 2) deeper += 1;
      else if (unclear.has(names[0]) || (names.length === 1 && withStrays.has(person))) continue;
      else if (people.has(person)) people.get(person).push(file);
      else people.set(person, [file]);
    }
    const strays = mixed.filter(isStray).flatMap(({ outer, direct }) => direct.map((file) => `“${outer}/${file}”`));
    const more = strays.splice(MAX_NAMES).length;
    if (strays.length) notes.push(`${strays.join(", ")}${more ? ` and ${number(more)} more` : ""} ${strays.length + more === 1 ? "is" : "are"} left out; put each photo into the folder of its person.`);
    for (const outer of unclear) notes.push(`“${outer}” is left out, because it has photos and also folders with photos. Put all photos of a person into one folder.`);
    if (deeper) notes.push(`${deeper === 1 ? "1 photo is" : `${deeper} photos are`} left out, because only the photos directly in a person's folder are added.`);
    return { people, notes };
  }

  async function send(chosen) {
    sending = true;
    document.getElementById("enrolled").hidden = false;
    rows.replaceChildren();
    const parts = chosen.flatMap(({ person, files, typed, field }) => split(files).map((part) => ({ person, typed, field, files, part, rows: part.map((file) => waitingRow(person, file)) })));
    const changes = new URLSearchParams(); // a form of many parts would be refused
    const refused = new Map(); // the names that the server did not take
    let done = 0;
    const typedName = chosen.find(({ typed }) => typed)?.person;
    let asked = null; // the photos of a typed name that the server did not take
    try {
      for (const { person, files, typed, field, part, rows: waiting } of parts) {
        progress.textContent = `${done} of ${rows.childElementCount} photos`;
        const ready = part.filter((file, index) => fits(file, waiting[index]));
        const left = waiting.filter((row) => row.dataset.state !== "refused");
        if (ready.length && !refused.has(person)) await sendPart(person, field, ready, left, refused, changes);
        if (refused.has(person)) {
          waiting.forEach((row) => (typed ? row.remove() : refuse(row, refused.get(person).sentence)));
          if (typed) asked = { files, refusal: refused.get(person) };
        } else done += part.length;
      }
      await finish(changes);
    } catch {
      // No answer. The rows say so; and `rollcall web` finds the new photos by itself, only later.
    }
    const added = rows.querySelectorAll(".photo-added").length;
    progress.textContent = rows.childElementCount ? `${added} of ${rows.childElementCount} photos added` : "";
    document.getElementById("enrolled").hidden = !rows.childElementCount;
    sending = false;
    if (photos.files.length) return;
    // Only now, because the answer sends the photos again.
    if (asked) ask(asked);
    // The next photos are of somebody else, unless one has to be replaced. A name that was typed
    // meanwhile stays.
    else if (isDone() && name.value.trim() === typedName) {
      name.value = "";
      describe();
    }
  }

  const isDone = () => rows.querySelectorAll(".photo-added, .photo-known").length === rows.childElementCount;

  function ask({ files, refusal }) {
    setFiles(files);
    refuseName(refusal);
    describe();
    name.focus();
    form.querySelector("[data-answers]").scrollIntoView({ block: "nearest" });
    name.scrollIntoView({ block: "nearest" });
  }

  // The line at the foot then names everybody who was added.
  async function finish(body) {
    const answer = await fetch("/enrol/finish", { method: "POST", headers: { "X-CSRFToken": token() }, body });
    if (answer.status === 200) showFoot(fragment(await answer.text()));
  }

  const token = () => document.querySelector("meta[name=csrf-token]").content;

  function split(files) {
    const parts = [];
    let bytes = 0;
    for (const file of files) {
      const last = parts[parts.length - 1];
      if (!last || last.length >= AT_ONCE || bytes + file.size > MAX_REQUEST_BYTES) { parts.push([file]); bytes = file.size; }
      else { last.push(file); bytes += file.size; }
    }
    return parts;
  }

  function waitingRow(person, file) {
    const row = document.createElement("tr");
    for (const [label, text] of [["Photo", file.name], ["Person", person], ["Result", "waiting"]]) {
      const cell = Object.assign(document.createElement("td"), { textContent: text });
      cell.dataset.label = label;
      row.append(cell);
    }
    rows.append(row);
    return row;
  }

  function refuse(row, reason) {
    row.dataset.state = "refused";
    const words = Object.assign(document.createElement("strong"), { className: "danger", textContent: "✗ not added" });
    row.lastChild.replaceChildren(words, document.createElement("br"), Object.assign(document.createElement("small"), { textContent: reason }));
  }

  function fits(file, row) {
    if (file.size <= maxBytes) return true;
    refuse(row, `The photo has more than ${maxBytes >> 20} MB; make it smaller, or use JPEG.`);
    return false;
  }

  function sendPart(person, field, files, waiting, refused, changes) {
    const body = new FormData();
    body.append(field || "name", person);
    if (!field) body.append("folder", "yes");
    files.forEach((file) => body.append("photos", file, file.name));
    const request = new XMLHttpRequest();
    const say = (text) => waiting.forEach((row) => { row.lastChild.textContent = text; });
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) say(event.loaded < event.total ? `sending, ${Math.floor((100 * event.loaded) / event.total)} %` : "looking at the face");
    };
    return new Promise((resolve) => {
      request.onloadend = () => {
        const answer = fragment(request.responseText);
        const line = answer.querySelector("[data-refused]");
        if (request.status === 200) replace(waiting, answer, changes);
        else if (line) refused.set(person, { sentence: line.textContent, isQuestion: "question" in line.dataset, buttons: answer.querySelectorAll("[data-answers] button") });
        else waiting.forEach((row) => refuse(row, reasonOf(request)));
        resolve();
      };
      request.open("POST", form.action);
      request.setRequestHeader("X-CSRFToken", token());
      request.setRequestHeader("HX-Request", "true");
      request.send(body);
    });
  }

  function fragment(html) {
    const answer = document.createElement("template");
    answer.innerHTML = html;
    return answer.content;
  }

  function replace(waiting, answer, changes) {
    showFoot(answer);
    const found = Array.from(answer.querySelectorAll("tr"));
    if (found[0]?.dataset.change) changes.append("change", found[0].dataset.change);
    found.forEach((row, index) => waiting[index]?.replaceWith(row));
  }

  function showFoot(answer) {
    const foot = answer.querySelector("#foot");
    if (!foot?.childElementCount) return;
    document.getElementById("foot").replaceChildren(...foot.childNodes);
    window.htmx?.process(document.getElementById("foot"));
  }

  function reasonOf(request) {
    if (!request.status) return "The server does not answer; try again.";
    if (request.status === 401) return "You are signed out. Load this page again, sign in, and add the photo again.";
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    return page.querySelector("main p")?.textContent || `The server answered ${request.status}.`;
  }

  window.addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });
})();
