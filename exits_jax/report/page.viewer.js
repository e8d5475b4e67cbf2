// --- the large view ---------------------------------------------------------------------------------

const viewer = byId("viewer");
const well = byId("well"); // the window onto the picture
const stage = byId("stage"); // the picture, as large as the zoom makes it
const MOST_ZOOM = 8;
let open = null; // { kind: "item" | "image", list, index }
const zoom = { factor: 1, fit: 1, width: 1, height: 1 }; // fit: screen pixels of one of the picture's

function addFact(name, value) {
  const pair = document.createElement("div");
  const term = document.createElement("dt");
  const detail = document.createElement("dd");
  term.textContent = name;
  detail.append(value);
  pair.append(term, detail);
  byId("viewer-facts").append(pair);
}

function linkTo(kind, id, text) {
  const link = document.createElement("a");
  link.href = `#${kind}=${id}`;
  link.textContent = text;
  return link;
}

function show(kind, list, index) {
  open = { kind, list, index };
  const entry = list[index];
  const isItem = kind === "item";
  byId("viewer-title").textContent = isItem ? `${entry.category} #${entry.id}` : entry.file;
  byId("viewer-place").textContent = `${index + 1} of ${list.length}`;
  byId("viewer-facts").replaceChildren();
  byId("viewer-names").replaceChildren();
  for (const element of viewer.querySelectorAll(".for-item")) element.hidden = !isItem;
  for (const element of viewer.querySelectorAll(".for-image")) element.hidden = isItem;
  byId("previous").disabled = index === 0;
  byId("next").disabled = index === list.length - 1;
  byId("viewer-panel").hidden = !entry.panel;
  if (entry.panel) byId("viewer-panel").querySelector("img").src = entry.panel;
  if (isItem) showItemFacts(entry);
  else showImageFacts(entry);
  if (!viewer.open) {
    say("");
    viewer.showModal();
  }
  stage.replaceChildren(...[...entry.card.querySelector(".picture").children].map((part) => part.cloneNode(true)));
  if (!isItem) addNumbers(entry);
  well.scrollTo(0, 0);
  fitPicture();
  if (isItem) showViewerDecision();
  writeAddress();
}

function showItemFacts(item) {
  addFact("IoU", item.iou === null ? "n/a" : item.iou.toFixed(3));
  addFact("score", item.score.toFixed(3));
  addFact("area", `${Math.round(item.area).toLocaleString("en")} px`);
  addFact("flags", item.flags.join(", ") || "none");
  const name = `${item.file} (id ${item.image})`;
  addFact("image", shots.some((shot) => shot.id === item.image) ? linkTo("image", item.image, name) : name);
}

function showImageFacts(shot) {
  addFact("image id", String(shot.id));
  addFact("labels", shot.about);
}

function showViewerDecision() {
  if (open?.kind !== "item") return;
  const verdict = verdictOf(open.list[open.index]);
  well.dataset.state = verdict;
  for (const button of viewer.querySelectorAll("[data-verdict]")) {
    button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
  }
}

// Numbers at the masks of an image, and under it what they are: names would hide small objects.
function addNumbers(shot) {
  well.dataset.state = "open";
  const { width, height } = stage.querySelector("svg")?.viewBox.baseVal ?? {};
  const rows = [...stage.querySelectorAll("svg .mask.line")].map((mask) => {
    const { id, number } = mask.dataset;
    // A path begins at the topmost corner of its mask.
    const [, x, y] = byId(`m${shot.id}.${id}`).getAttribute("d").match(/^M(\d+) (\d+)/).map(Number);
    return { id, number: Number(number), x, y, colour: mask.style.getPropertyValue("--core") };
  });
  for (const { id, number, x, y, colour } of rows.sort((a, b) => a.number - b.number)) {
    const item = itemOf.get(id);
    const tag = linkTo("item", id, String(number));
    tag.className = "tag";
    tag.tabIndex = -1; // the list below has the same links
    tag.style.left = `clamp(11px, ${100 * x / width}%, 100% - 11px)`;
    tag.style.top = `max(22px, ${100 * y / height}%)`;
    const row = document.createElement("li");
    const link = linkTo("item", id, `${number} ${item.category}`);
    link.title = item.category;
    const about = document.createElement("small");
    about.textContent = item.iou === null ? `score ${item.score.toFixed(2)}` : `IoU ${item.iou.toFixed(2)}`;
    for (const element of [tag, row]) element.style.setProperty("--core", colour);
    tag.title = `${item.category} #${id}, ${about.textContent}`;
    row.append(link, about);
    stage.append(tag);
    byId("viewer-names").append(row);
  }
}

function goTo(kind, id) {
  const place = (list) => list.findIndex((entry) => String(entry.id) === id);
  const list = kind === "image" ? shots : place(visible) < 0 ? items : visible;
  show(kind, list, place(list));
}

function step(by) {
  const index = open.index + by;
  if (open.list[index]) show(open.kind, open.list, index);
}

function decideInViewer(verdict) {
  if (open?.kind !== "item") return;
  decide(open.list[open.index], verdict);
  if (byId("go-on").checked && verdict !== "open") step(1);
}

// --- zoom ---------------------------------------------------------------------------------------------

function fitPicture() {
  const image = stage.querySelector("img");
  const known = stage.querySelector("svg")?.viewBox.baseVal;
  zoom.width = known?.width ?? (image.naturalWidth || 1);
  zoom.height = known?.height ?? (image.naturalHeight || 1);
  zoom.fit = Math.min(well.clientWidth / zoom.width, well.clientHeight / zoom.height);
  setZoom(1);
}

// Eight times the window, or eight screen pixels for each of the picture's, whichever is more.
const mostZoom = () => Math.max(MOST_ZOOM, MOST_ZOOM / zoom.fit);

// Changes the zoom; what lies at `at` (screen coordinates; the middle if left out) stays there.
function setZoom(factor, at) {
  const frame = well.getBoundingClientRect();
  const point = at ?? { x: frame.left + frame.width / 2, y: frame.top + frame.height / 2 };
  const before = stage.getBoundingClientRect();
  const share = { x: (point.x - before.left) / before.width, y: (point.y - before.top) / before.height };
  zoom.factor = Math.min(Math.max(factor, 1), mostZoom());
  const scale = zoom.fit * zoom.factor;
  stage.style.width = `${zoom.width * scale}px`;
  stage.style.height = `${zoom.height * scale}px`;
  stage.classList.toggle("pixels", scale >= 3);
  const after = stage.getBoundingClientRect();
  well.scrollLeft += after.left + share.x * after.width - point.x;
  well.scrollTop += after.top + share.y * after.height - point.y;
  well.classList.toggle("zoomed", zoom.factor > 1);
  byId("zoom").textContent = `${zoom.factor.toFixed(1)}×`;
  byId("zoom-in").disabled = zoom.factor >= mostZoom();
  byId("zoom-out").disabled = byId("zoom-fit").disabled = zoom.factor <= 1;
}

const ZOOM_KEYS = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 };

well.addEventListener("wheel", (event) => {
  event.preventDefault();
  setZoom(zoom.factor * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), event);
}, { passive: false });
well.addEventListener("dblclick", (event) => setZoom(zoom.factor > 1 ? 1 : 3, event));
well.addEventListener("pointerdown", (event) => {
  if (event.pointerType !== "mouse" || event.button || event.target.closest("a")) return;
  well.setPointerCapture(event.pointerId);
});
well.addEventListener("pointermove", (event) => {
  if (!well.hasPointerCapture(event.pointerId)) return;
  well.scrollBy(-event.movementX, -event.movementY);
});
stage.addEventListener("dragstart", (event) => event.preventDefault());
window.addEventListener("resize", () => { if (viewer.open) fitPicture(); });

// --- buttons and keys ---------------------------------------------------------------------------------

byId("zoom-in").addEventListener("click", () => setZoom(zoom.factor * 1.5));
byId("zoom-out").addEventListener("click", () => setZoom(zoom.factor / 1.5));
byId("zoom-fit").addEventListener("click", () => setZoom(1));
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
for (const button of viewer.querySelectorAll("button[data-verdict]")) {
  button.addEventListener("click", () => {
    const { verdict } = button.dataset;
    decideInViewer(verdictOf(open.list[open.index]) === verdict ? "open" : verdict);
  });
}
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
  if (!isCommand(event)) return;
  if (event.key in VERDICT_KEYS) return decideInViewer(VERDICT_KEYS[event.key]);
  if (event.key in ZOOM_KEYS) return setZoom(zoom.factor * ZOOM_KEYS[event.key]);
  // A focused picture larger than its window is moved by the arrow keys.
  if (event.target === well && zoom.factor > 1) return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close(); // beside the dialog
  const link = event.target.closest("a");
  if (!link) return;
  event.preventDefault(); // a plain link would reset the filters
  const [[kind, id]] = new URLSearchParams(link.hash.slice(1));
  goTo(kind, id);
});
viewer.addEventListener("close", () => {
  // Back to where one was, which may be another card after stepping.
  if (open) open.list[open.index].card.querySelector("a").focus();
  open = null;
  writeAddress();
});
