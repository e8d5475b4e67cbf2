"use strict";
// The state of the page is its filter form plus what is open in the viewer. It is mirrored in the
// address after "#", so that a view can be bookmarked and sent.

const byId = (id) => document.getElementById(id);
const form = byId("filters");
const controls = form.elements;
const viewer = byId("viewer");
const cardList = byId("cards");

const items = JSON.parse(byId("data").textContent);
items.forEach((item, order) => {
  item.order = order;
  item.card = cardList.children[order];
});
const shots = [...document.querySelectorAll(".shot")].map((card) => ({
  card,
  id: Number(new URLSearchParams(card.querySelector("a").hash.slice(1)).get("image")),
  file: card.querySelector(".name").textContent,
  about: card.querySelector(".about").textContent,
}));

const DEFAULTS = { sort: "order", direction: "up", category: "", flag: "", min_score: "0", search: "" };
let visible = items;
let open = null; // { kind: "item" | "image", list, index }

function matches(item) {
  const { category, flag, min_score, search } = controls;
  const text = search.value.trim().toLowerCase();
  const flagged = flag.value === "(none)" ? !item.flags.length : item.flags.includes(flag.value);
  return (!category.value || item.category === category.value)
    && (!flag.value || flagged)
    && item.score >= Number(min_score.value)
    // Digits are an annotation id: file names are often numbers, too, and would drown it.
    && (/^\d*$/.test(text) ? String(item.id).includes(text) : item.file.toLowerCase().includes(text));
}

function compare(a, b) {
  const key = controls.sort.value;
  const sign = controls.direction.value === "down" ? -1 : 1;
  if (a[key] === null || b[key] === null) {
    // Without a number always last, whatever the direction.
    return (a[key] === null) - (b[key] === null) || a.order - b.order;
  }
  return sign * (a[key] - b[key]) || a.order - b.order;
}

function showCards() {
  visible = items.filter(matches).sort(compare);
  const wanted = new Set(visible);
  for (const item of items) item.card.hidden = !wanted.has(item);
  cardList.append(...visible.map((item) => item.card));
  controls.shown_score.value = Number(controls.min_score.value).toFixed(2);
  byId("count").textContent = `${visible.length} of ${items.length} shown`;
  byId("nothing").hidden = visible.length > 0;
}

function writeAddress() {
  const state = new URLSearchParams();
  for (const [name, normal] of Object.entries(DEFAULTS)) {
    if (controls[name].value !== normal) state.set(name, controls[name].value);
  }
  if (open) state.set(open.kind, open.list[open.index].id);
  history.replaceState(null, "", `#${state}`);
}

function readAddress() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const [name, normal] of Object.entries(DEFAULTS)) {
    controls[name].value = state.get(name) ?? normal;
    if (controls[name].value === "" && normal) controls[name].value = normal;
  }
  showCards();
  const given = (kind, list) => list.findIndex((entry) => state.get(kind) === String(entry.id));
  const item = given("item", visible);
  const image = given("image", shots);
  if (item >= 0) show("item", visible, item);
  else if (image >= 0) show("image", shots, image);
  else if (viewer.open) viewer.close();
}

function addFact(name, value) {
  const pair = document.createElement("div");
  const term = document.createElement("dt");
  const detail = document.createElement("dd");
  term.textContent = name;
  detail.textContent = value;
  pair.append(term, detail);
  byId("viewer-facts").append(pair);
}

function show(kind, list, index) {
  open = { kind, list, index };
  const entry = list[index];
  const isItem = kind === "item";
  const picture = byId("viewer-picture");
  picture.className = entry.panel ? "panel" : isItem ? "small" : "";
  picture.firstElementChild.src = entry.panel ?? entry.card.querySelector("img").src;
  picture.firstElementChild.alt = isItem ? `${entry.category}, annotation ${entry.id}` : entry.file;
  byId("viewer-title").textContent = isItem ? `${entry.category} #${entry.id}` : entry.file;
  byId("viewer-facts").replaceChildren();
  if (isItem) {
    addFact("IoU", entry.iou === null ? "n/a" : entry.iou.toFixed(3));
    addFact("score", entry.score.toFixed(3));
    addFact("area", `${Math.round(entry.area).toLocaleString("en")} px`);
    addFact("flags", entry.flags.join(", ") || "none");
    addFact("image", `${entry.file} (id ${entry.image})`);
  } else {
    addFact("image id", entry.id);
    addFact("labels", entry.about);
  }
  byId("only-these").hidden = isItem;
  byId("previous").disabled = index === 0;
  byId("next").disabled = index === list.length - 1;
  if (!viewer.open) viewer.showModal();
  writeAddress();
}

function step(by) {
  const index = open.index + by;
  if (open.list[index]) show(open.kind, open.list, index);
}

form.addEventListener("input", () => { showCards(); writeAddress(); });
form.addEventListener("submit", (event) => event.preventDefault());
// The browser empties the form after this event, so look at it once that has happened.
form.addEventListener("reset", () => setTimeout(() => { showCards(); writeAddress(); }));

document.addEventListener("click", (event) => {
  const card = event.target.closest(".card, .shot");
  if (!card || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const [kind, list] = card.matches(".card") ? ["item", visible] : ["image", shots];
  show(kind, list, list.findIndex((entry) => entry.card === card));
});

byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("only-these").addEventListener("click", () => {
  form.reset();
  controls.search.value = open.list[open.index].file;
  open = null;
  viewer.close();
  showCards();
  byId("instances").scrollIntoView();
});
byId("close").addEventListener("click", () => viewer.close());
viewer.addEventListener("keydown", (event) => {
  const picture = byId("viewer-picture");
  // A focused picture wider than the window is moved by the arrow keys.
  if (event.target === picture && picture.scrollWidth > picture.clientWidth) return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("close", () => {
  // Back to where one was, which may be another card after stepping.
  if (open) open.list[open.index].card.querySelector("a").focus();
  open = null;
  writeAddress();
});

// A plain anchor such as #instances is a place on the page, not a state.
const isState = () => !location.hash || location.hash.includes("=");
window.addEventListener("hashchange", () => { if (isState()) readAddress(); });
form.hidden = false;
readAddress();
