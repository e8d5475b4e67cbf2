"use strict";
// The state of the page is its filter form, which layers are drawn, and what is open in the viewer.
// It is mirrored in the address after "#", so that a view can be bookmarked and sent.

const byId = (id) => document.getElementById(id);
const form = byId("filters");
const controls = form.elements;
const cardList = byId("cards");
const page = JSON.parse(byId("data").textContent);

const items = page.items; // worst first, as the cards are
const itemOf = new Map(items.map((item) => [String(item.id), item]));
items.forEach((item, place) => {
  item.card = cardList.children[place];
  item.quality = item.iou ?? item.score;
});
const shots = [...document.querySelectorAll(".shot")].map((card) => ({
  card,
  id: Number(new URLSearchParams(card.querySelector("a").hash.slice(1)).get("image")),
  file: card.querySelector(".name").textContent,
  about: card.querySelector(".about").textContent,
}));

const DEFAULTS = {
  sort: "quality", direction: "up", category: "", flag: "", decision: "", min_score: "0", search: "",
};
let visible = items;

function matches(item) {
  const { category, flag, decision, min_score, search } = controls;
  const text = search.value.trim().toLowerCase();
  const flagged = flag.value === "(none)" ? !item.flags.length : item.flags.includes(flag.value);
  return (!category.value || item.category === category.value)
    && (!flag.value || flagged)
    && (!decision.value || verdictOf(item) === decision.value)
    && item.score >= Number(min_score.value)
    // Digits are an annotation id: file names are often numbers, too, and would drown it.
    && (/^\d*$/.test(text) ? String(item.id).includes(text) : item.file.toLowerCase().includes(text));
}

function compare(a, b) {
  const key = controls.sort.value;
  const sign = controls.direction.value === "down" ? -1 : 1;
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

// --- layers of the drawings -----------------------------------------------------------------------

const LAYERS = {
  mask: ["Masks", "m"], fill: ["Fill", "f"], truth: ["Truth", "t"], points: ["Points", "p"], number: ["Numbers", "n"],
};
// Those that only one kind of picture has.
const ONLY_FOR = { points: "for-item", number: "for-image" };
const isDrawn = (layer) => !document.body.classList.contains(`no-${layer}`);

function draw(layer, yes) {
  document.body.classList.toggle(`no-${layer}`, !yes);
  for (const button of document.querySelectorAll(`[data-layer="${layer}"]`)) {
    button.setAttribute("aria-pressed", String(yes));
  }
}

function addLayerButtons() {
  for (const group of document.querySelectorAll(".layers")) {
    for (const [layer, [name, key]] of Object.entries(LAYERS)) {
      const inViewer = layer === "number";
      if (inViewer ? !group.closest("dialog") : !document.querySelector(`.marks .${layer}`)) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = `layer ${layer} ${ONLY_FOR[layer] ?? ""}`;
      button.dataset.layer = layer;
      button.title = `${name} on and off (${key})`;
      button.textContent = name;
      button.setAttribute("aria-keyshortcuts", key);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => { draw(layer, !isDrawn(layer)); writeAddress(); });
      group.append(button);
    }
  }
}

// --- address -------------------------------------------------------------------------------------

function writeAddress() {
  const state = new URLSearchParams();
  for (const [name, normal] of Object.entries(DEFAULTS)) {
    if (controls[name].value !== normal) state.set(name, controls[name].value);
  }
  const hidden = Object.keys(LAYERS).filter((layer) => !isDrawn(layer));
  if (hidden.length) state.set("hide", hidden.join(","));
  if (open) state.set(open.kind, open.list[open.index].id);
  history.replaceState(null, "", `#${state}`);
}

function readAddress() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const [name, normal] of Object.entries(DEFAULTS)) {
    controls[name].value = state.get(name) ?? normal;
    if (controls[name].value === "" && normal) controls[name].value = normal;
  }
  const hidden = (state.get("hide") ?? "").split(",");
  for (const layer of Object.keys(LAYERS)) draw(layer, !hidden.includes(layer));
  showCards();
  const given = (kind, list) => list.findIndex((entry) => state.get(kind) === String(entry.id));
  const item = given("item", visible);
  const image = given("image", shots);
  if (item >= 0) show("item", visible, item);
  else if (image >= 0) show("image", shots, image);
  else if (viewer.open) viewer.close();
}

// --- what a person does ----------------------------------------------------------------------------

const filter = () => { showCards(); writeAddress(); };
// Some browsers, form fillers and tools for the disabled send only one of the two.
form.addEventListener("input", filter);
form.addEventListener("change", filter);
form.addEventListener("submit", (event) => event.preventDefault());
// The browser empties the form after this event, so look at it once that has happened.
form.addEventListener("reset", () => setTimeout(filter));

document.addEventListener("click", (event) => {
  const link = event.target.closest(".card > a, .shot > a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const card = link.parentElement;
  const [kind, list] = card.matches(".card") ? ["item", visible] : ["image", shots];
  show(kind, list, list.findIndex((entry) => entry.card === card));
});

// Whether a key is for the page: not a letter somebody types, nor a shortcut of the browser.
const isCommand = (event) => !event.ctrlKey && !event.metaKey && !event.altKey
  && !event.target.closest?.("input:not([type=checkbox]), select, textarea");

document.addEventListener("keydown", (event) => {
  if (!isCommand(event)) return;
  const layer = Object.keys(LAYERS).find((name) => LAYERS[name][1] === event.key);
  if (layer) {
    draw(layer, !isDrawn(layer));
    return writeAddress();
  }
  const card = event.target.closest?.(".card");
  if (!card || viewer.open) return;
  const index = visible.findIndex((item) => item.card === card);
  if (event.key in VERDICT_KEYS) return decide(visible[index], VERDICT_KEYS[event.key]);
  const first = visible[0].card.offsetTop;
  const rest = visible.findIndex((item) => item.card.offsetTop !== first);
  const columns = rest < 0 ? visible.length : rest;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (!by || !visible[index + by]) return;
  event.preventDefault();
  visible[index + by].card.querySelector("a").focus();
});

// A plain anchor such as #instances is a place on the page, not a state.
const isState = () => !location.hash || location.hash.includes("=");
window.addEventListener("hashchange", () => { if (isState()) readAddress(); });

function start() {
  addLayerButtons();
  startReview();
  for (const element of document.querySelectorAll("[data-needs-script]")) element.hidden = false;
  readAddress();
}
