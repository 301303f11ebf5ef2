// Dropping photos: one for the search by photo, many (or folders, one for each person) to add people.
"use strict";
(() => {
  const AT_ONCE = 8; // photos in one request
  const MAX_REQUEST_BYTES = 48 << 20;
  const MAX_PHOTOS = 2000; // in one drop, or in chosen folders
  const PICTURE = /\.(jpe?g|png|webp|tiff?|avif|gif|bmp|jp2|ppm|heic|heif)$/i;

  const form = document.querySelector("[data-drop], [data-enrol]");
  if (!form) return;
  const chosen = form.querySelector("[data-chosen]");
  const photos = form.querySelector("#photo, #photos");
  const isPicture = (file) => file.type.startsWith("image/") || PICTURE.test(file.name);
  const show = (text) => { chosen.textContent = text; };

  // --- drag and drop
  form.addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
  form.addEventListener("dragleave", (event) => { if (!form.contains(event.relatedTarget)) form.classList.remove("over"); });
  form.addEventListener("drop", async (event) => {
    event.preventDefault();
    form.classList.remove("over");
    let found;
    try {
      found = await filesOf(event.dataTransfer);
    } catch (error) {
      return show(`The files cannot be read: ${error.message}`);
    }
    if (form.matches("[data-enrol]")) return dropped(found);
    const picture = found.map((each) => each.file).find(isPicture);
    if (!picture) return show("This is not a picture.");
    setFiles([picture]);
    form.requestSubmit();
  });

  function setFiles(files) {
    const transfer = new DataTransfer();
    files.forEach((file) => transfer.items.add(file));
    photos.files = transfer.files;
    photos.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // The files of a drop, each with the names of its folders, the outermost first. In folders, only
  // pictures count, and what begins with a dot is left out: programs put such files there.
  async function filesOf(transfer) {
    const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return Array.from(transfer.files, (file) => ({ file, folders: [] }));
    const found = [];
    await Promise.all(entries.map((entry) => walk(entry, [], found)));
    return found;
  }

  async function walk(entry, folders, found) {
    if (found.length > MAX_PHOTOS || entry.name.startsWith(".")) return;
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      if (!folders.length || isPicture(file)) found.push({ file, folders });
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a reader gives a hundred entries at a time
      const inner = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!inner.length) return;
      for (const each of inner) await walk(each, [...folders, entry.name], found);
    }
  }

  // --- one photo
  photos.addEventListener("change", () => {
    const { files } = photos;
    show(files.length > 1 ? `${files.length} photos` : "");
    document.getElementById("results")?.replaceChildren(); // they are about another photo
  });
  if (!form.matches("[data-enrol]")) return;

  // --- many photos
  const name = form.querySelector("#name");
  const folders = form.querySelector("#folders");
  const rows = document.getElementById("rows");
  const progress = document.querySelector("[data-progress]");
  const maxBytes = Number(form.dataset.maxMb) << 20;
  const WAIT = "Wait until the photos before these are added.";
  let sending = false;
  form.querySelectorAll("[data-folders], [data-folder-hint]").forEach((part) => { part.hidden = false; });

  folders.addEventListener("change", () => {
    const found = Array.from(folders.files, (file) => ({ file, folders: file.webkitRelativePath.split("/").slice(0, -1) }));
    folders.value = "";
    dropped(found.filter(({ file, folders: names }) => isPicture(file) && ![...names, file.name].some((name) => name.startsWith("."))));
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (sending) return show(WAIT);
    send([[name.value.trim(), Array.from(photos.files)]]);
    photos.value = "";
  });

  function dropped(found) {
    if (sending) return show(WAIT);
    if (found.length > MAX_PHOTOS) return show(`These are more than ${MAX_PHOTOS} photos, so nothing was added. Add them in several parts.`);
    const loose = found.filter(({ folders: names }) => !names.length).map(({ file }) => file);
    const { people, notes } = peopleOf(found.filter(({ folders: names }) => names.length));
    if (loose.length) setFiles(loose);
    if (people.size) send([...people].sort(([one], [other]) => one.localeCompare(other)));
    else if (loose.length && name.value.trim()) form.requestSubmit();
    if (loose.length && (people.size || !name.value.trim())) {
      notes.unshift(`${loose.length === 1 ? loose[0].name : `${loose.length} photos`}: type the name, then press Add.`);
      name.focus();
    }
    if (!found.length) notes.push("There are no pictures in it.");
    show(notes.join(" "));
  }

  // The photos of each person. A dropped folder is that of a person, or has a folder for each person.
  // If it has photos and folders with photos, it is unclear whom they show, and it is left out.
  function peopleOf(found) {
    const people = new Map();
    const notes = [];
    const withPhotos = (depth) => new Set(found.filter(({ folders: names }) => names.length === depth).map(({ folders: names }) => names[0]));
    const inner = withPhotos(2);
    const unclear = new Set([...withPhotos(1)].filter((outer) => inner.has(outer)));
    let deeper = 0;
    for (const { file, folders: names } of found) {
      const person = names[names.length - 1];
      if (names.length > 2) deeper += 1;
      else if (unclear.has(names[0])) continue;
      else if (people.has(person)) people.get(person).push(file);
      else people.set(person, [file]);
    }
    for (const outer of unclear) notes.push(`Nothing in “${outer}” was added, because it has photos and also folders with photos. Put all photos of a person into one folder.`);
    if (deeper) notes.push(`${deeper === 1 ? "1 photo was" : `${deeper} photos were`} left out, because only the photos directly in a person's folder are added.`);
    return { people, notes };
  }

  async function send(people) {
    sending = true;
    show("");
    document.getElementById("enrolled").hidden = false;
    rows.replaceChildren();
    const parts = people.flatMap(([person, files]) => split(files).map((part) => ({ person, part, rows: part.map((file) => waitingRow(person, file)) })));
    const total = parts.reduce((sum, { part }) => sum + part.length, 0);
    let done = 0;
    try {
      for (const { person, part, rows: waiting } of parts) {
        progress.textContent = `${done} of ${total} photos`;
        const ready = part.filter((file, index) => fits(file, waiting[index]));
        if (ready.length) await sendPart(person, ready, waiting.filter((row) => row.dataset.state !== "refused"));
        done += part.length;
      }
      await fetch("/enrol/finish", { method: "POST", headers: { "X-CSRFToken": token() } });
    } catch {
      // No answer. The rows say so; and `rollcall web` finds the new photos by itself, only later.
    }
    const added = rows.querySelectorAll(".photo-added").length;
    progress.textContent = `${added} of ${total} photos added`;
    sending = false;
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

  function sendPart(person, files, waiting) {
    const body = new FormData();
    body.append("name", person);
    files.forEach((file) => body.append("photos", file, file.name));
    const request = new XMLHttpRequest();
    const say = (text) => waiting.forEach((row) => { row.lastChild.textContent = text; });
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) say(event.loaded < event.total ? `sending, ${Math.floor((100 * event.loaded) / event.total)} %` : "looking at the face");
    };
    return new Promise((resolve) => {
      request.onloadend = () => {
        if (request.status === 200) replace(waiting, request.responseText);
        else waiting.forEach((row) => refuse(row, reasonOf(request)));
        resolve();
      };
      request.open("POST", form.action);
      request.setRequestHeader("X-CSRFToken", token());
      request.setRequestHeader("HX-Request", "true");
      request.send(body);
    });
  }

  function replace(waiting, html) {
    const answer = document.createElement("template");
    answer.innerHTML = html;
    const foot = answer.content.querySelector("#foot");
    if (foot && foot.childElementCount) {
      document.getElementById("foot").replaceChildren(...foot.childNodes);
      window.htmx?.process(document.getElementById("foot"));
    }
    Array.from(answer.content.querySelectorAll("tr")).forEach((row, index) => waiting[index]?.replaceWith(row));
  }

  function reasonOf(request) {
    if (!request.status) return "The server does not answer; try again.";
    if (request.status === 401) return "You are signed out. Load this page again, sign in, and add the photo again.";
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    return page.querySelector("main p")?.textContent || `The server answered ${request.status}.`;
  }

  window.addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });
})();
