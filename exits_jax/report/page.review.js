// --- decisions: accept, reject, save, load ----------------------------------------------------------

const VERDICT_KEYS = { a: "accept", r: "reject", u: "open" };
const DONE = { accept: "accepted", reject: "rejected", open: "open again" };
const REMEMBERED = `exits_jax decisions ${page.review.run}`;
// Annotation id (as text) -> { verdict, mask }. "open" takes back what an earlier page or file said.
let decisions = new Map();

const verdictOf = (item) => decisions.get(String(item.id))?.verdict ?? "open";

function decide(item, verdict) {
  decisions.set(String(item.id), { verdict, mask: item.mask });
  remember();
  showDecision(item);
  showTally();
  if (viewer.open) showViewerDecision();
  say(`${item.category} #${item.id} ${DONE[verdict]}`);
}

function showDecision(item) {
  const verdict = verdictOf(item);
  item.card.dataset.state = verdict;
  for (const button of item.card.querySelectorAll("[data-verdict]")) {
    button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
  }
}

function showDecisions() {
  items.forEach(showDecision);
  showTally();
}

function showTally() {
  const count = (wanted) => items.filter((other) => verdictOf(other) === wanted).length;
  const elsewhere = [...decisions].filter(([id, made]) => made.verdict !== "open" && !itemOf.has(id));
  byId("tally").textContent = `${count("accept")} accepted, ${count("reject")} rejected, `
    + `${count("open")} open${elsewhere.length ? `; ${elsewhere.length} about masks not on this page` : ""}`;
  byId("save").disabled = ![...decisions.values()].some((made) => made.verdict !== "open");
}

// What is said last, on the page and in the viewer.
function say(text) {
  for (const place of document.querySelectorAll(".said")) place.textContent = text;
}

function decisionsFile(all) {
  const made = [...decisions].filter(([, one]) => all || one.verdict !== "open");
  const masks = made.filter(([, one]) => one.mask);
  return {
    about: "saved by exits_jax's report.html; for --mode=label --config.label.decisions=THIS FILE",
    labels_sha256: page.review.labels_sha256 ?? "",
    decisions: Object.fromEntries(made.map(([id, one]) => [id, one.verdict])),
    masks: Object.fromEntries(masks.map(([id, one]) => [id, one.mask])),
  };
}

// Adds a file's decisions to those there are; one about a mask that is another now is left out.
function addDecisions(file) {
  const given = file?.decisions ?? file;
  if (given === null || typeof given !== "object" || Array.isArray(given)) throw new Error("it holds no decisions");
  const name = Object.keys(given).find((id) => !/^(0|-?[1-9]\d{0,9})$/.test(id));
  if (name !== undefined) throw new Error(`${JSON.stringify(name)} is not an annotation id`);
  const wrong = Object.entries(given).find(([, verdict]) => !Object.hasOwn(DONE, verdict));
  if (wrong) throw new Error(`the decision about annotation ${wrong[0]} is ${JSON.stringify(wrong[1])}`);
  let stale = 0;
  for (const [id, verdict] of Object.entries(given)) {
    const mask = file.masks?.[id] ?? itemOf.get(id)?.mask;
    if (itemOf.has(id) && itemOf.get(id).mask !== mask) stale += 1;
    else decisions.set(id, { verdict, mask });
  }
  return { added: Object.keys(given).length - stale, stale };
}

const staleNote = (stale) => stale ? `; ${stale} left out: their masks have changed since` : "";

function remember() {
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify(decisionsFile(true)));
  } catch {
    byId("not-remembered").hidden = false;
  }
}

// What the labels were written with, then what this browser remembers of this run.
function recallDecisions() {
  let { stale } = addDecisions(page.review);
  try {
    const known = localStorage.getItem(REMEMBERED);
    if (known) stale += addDecisions(JSON.parse(known)).stale;
  } catch {
    byId("not-remembered").hidden = false;
  }
  if (stale) say(`Earlier decisions${staleNote(stale)}`);
}

function save() {
  const content = `${JSON.stringify(decisionsFile(false), null, 1)}\n`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = "review_decisions.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say("review_decisions.json is saved among your downloads");
}

async function load(file) {
  try {
    const { added, stale } = addDecisions(JSON.parse(await file.text()));
    remember();
    showDecisions();
    showCards();
    say(`${added} decisions loaded from ${file.name}${staleNote(stale)}`);
  } catch (error) {
    say(`${file.name}: not a file of decisions: ${error.message}`);
  }
}

function forget() {
  if (!confirm("Undo all decisions on this page?")) return;
  for (const item of items) decisions.set(String(item.id), { verdict: "open", mask: item.mask });
  for (const id of decisions.keys()) if (!itemOf.has(id)) decisions.get(id).verdict = "open";
  remember();
  showDecisions();
  say("all decisions undone");
}

function addDecisionButtons(item) {
  const group = byId("decide").content.firstElementChild.cloneNode(true);
  group.setAttribute("aria-label", `${item.category} #${item.id}`);
  for (const button of group.children) {
    button.addEventListener("click", () => {
      const { verdict } = button.dataset;
      decide(item, verdictOf(item) === verdict ? "open" : verdict);
    });
  }
  item.card.append(group);
}

function startReview() {
  items.forEach(addDecisionButtons);
  recallDecisions();
  showDecisions();
  byId("save").addEventListener("click", save);
  byId("forget").addEventListener("click", forget);
  byId("load").addEventListener("click", () => byId("load-file").click());
  byId("load-file").addEventListener("change", ({ target }) => {
    if (target.files[0]) load(target.files[0]);
    target.value = ""; // the same file can be chosen again
  });
}
