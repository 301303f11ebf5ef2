// Dropping photos: one for the search by photo, many to add people (enrol.js).
"use strict";
(() => {
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
    if (form.matches("[data-enrol]")) return form.dispatchEvent(new CustomEvent("dropped", { detail: found }));
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

  Object.assign(window.rollcall, { isPicture, setFiles, MAX_PHOTOS });
})();
