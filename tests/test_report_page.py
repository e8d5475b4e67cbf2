"""The report page: safe text, nothing from outside, and sorting and filters in a real browser."""

import base64
import html
import html.parser
import io
import json
import re
import time

import numpy as np
import pytest
from PIL import Image

from exits_jax.export.decisions import Decision, read_decisions
from exits_jax.report import cards as report_cards
from exits_jax.report import drawing, report
from exits_jax.report import page as report_page
from exits_jax.report.outlines import Marks
from exits_jax.report.report import ReportImage, ReportItem
from exits_jax.system.errors import UserError
from tests import browser

NASTY = "</script><script>document.title='owned'</script>"
QUOTED = '"><img src=x onerror="document.title=\'owned\'">&amp;{{data}}'


MARKS = Marks((12, 12), "M2 3h4v4h-4z", 16, "M2 4h5v4h-5z", [(4.5, 3.5)])


def picture(kind="WEBP", side=12, seed=0):
    noise = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def item(annotation_id, score, iou, category="coin", flags=(), area=100.0, **more):
    given = {"file_name": f"{annotation_id:06}.jpg", "picture": picture(), "image_id": 1}
    given |= {"marks": MARKS, "mask": f"mask{annotation_id}"} | more
    return ReportItem(
        annotation_id=annotation_id,
        category=category,
        score=score,
        iou=iou,
        area=area,
        flags=list(flags),
        **given,
    )


def rows():
    return [
        item(11, 0.9, 0.5, area=30.0),
        item(12, 0.2, None, NASTY, ["holes:1"], area=10.0),
        item(13, 0.5, 0.8, flags=["parts:2", "holes:1"], area=50, panel=picture("PNG", 20)),
        item(14, 0.7, 0.1, QUOTED, area=20.0, file_name=QUOTED),
        item(21, 0.5, 0.3, area=40.0, panel=picture("WEBP", 20)),
    ]


def write(path, **changes):
    given = {
        "title": f"Report {NASTY}",
        "rows": rows(),
        "summary": {"Generator": {"n": 5, "miou": 0.4, "ap": None}},
        "figures": {"Training losses": picture("PNG")},
        "images": [ReportImage(1, QUOTED, "5 instances", picture(), {11: MARKS, 14: MARKS})],
        "facts": {"configuration": NASTY, "instances": 5},
    }
    report.write_report(path / "report.html", **(given | changes))
    return (path / "report.html").read_text(encoding="utf-8")


class Elements(html.parser.HTMLParser):
    """All start tags with their attributes, and the text of the page in order."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def embedded(page, what="items"):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found[1])[what]


def test_text_of_users_is_escaped_and_comes_back_unchanged(tmp_path):
    page = write(tmp_path)
    elements = Elements(page)
    assert len(elements.named("script")) == 2
    assert "document.title='owned'" not in "".join(a for t in elements.tags for a in map(str, t[1]))
    assert all(attributes["src"].startswith("data:") for attributes in elements.named("img")[:-1])
    assert not any("onerror" in attributes for _, attributes in elements.tags)
    in_file = sorted(embedded(page), key=lambda entry: entry["order"])
    assert [entry["category"] for entry in in_file] == [row.category for row in rows()]
    assert in_file[3]["file"] == QUOTED
    assert any(QUOTED in text for text in elements.texts)


def test_no_text_can_end_the_data_element():
    value = ["</script >", "<!-- <script", "&lt;", "\u2028", NASTY]
    text = report_page.embedded_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    page = write(tmp_path)
    elements = Elements(page)
    for tag, attributes in elements.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster", "background"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, name)
    plain = re.sub(r"data:image/\w+;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttpRequest|import\(", plain)
    policy = next(a["content"] for a in elements.named("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy


def test_every_instance_can_be_read_without_javascript(tmp_path):
    page = write(tmp_path)
    elements = Elements(page)
    cards = [a for a in elements.named("li") if a.get("class") == "card"]
    assert len(cards) == 5
    assert not any("hidden" in attributes for attributes in cards)
    scripted = [a for _, a in elements.tags if "data-needs-script" in a]
    assert len(scripted) == 2
    assert all("hidden" in attributes for attributes in scripted)
    text = " ".join(elements.texts)
    for row in rows():
        assert f"#{row.annotation_id}" in text
        assert f"score {row.score:.2f}" in text
    assert all(a["alt"] for a in elements.named("img"))
    assert elements.named("html") == [{"lang": "en"}]


def test_summary_shows_missing_numbers_as_na_and_the_best_in_bold():
    table = report_page.summary_table(
        {"Filled box": {"n": 1200, "miou": 0.6, "ap": None}, "A<b": {"n": 1200, "miou": 0.75}}
    )
    assert "<td>1,200</td><td>0.600</td>" in table
    assert "<b>0.750</b>" in table
    assert table.count("<b>") == 1
    assert table.count(">n/a<") == 2 * (len(report_page.COLUMNS) - 2)
    assert "A&lt;b" in table
    assert "No ground truth" in report_page.summary_table(None)


def test_rows_of_the_summary_come_from_evaluation_json():
    evaluation = {"miou": 0.7, "baselines": {"filled_box": {"miou": 0.6}, "propagation_only": {}}}
    named = report.summary_rows(evaluation, "Generator")
    assert list(named) == ["Filled box", "Propagation only", "Generator"]
    assert [row.get("miou") for row in named.values()] == [0.6, None, 0.7]
    assert list(report.summary_rows({"miou": 0.7, "baselines": None})) == ["Generator"]


def test_panels_and_images_stop_at_the_size_and_the_worst_come_first(tmp_path):
    def fake(size, seed):
        return b"RIFF" + np.random.default_rng(seed).bytes(size)

    many = [
        item(100 + k, 0.5, k / 10, picture=picture(side=20, seed=k), panel=fake(30_000, k))
        for k in range(10)
    ]
    images = [ReportImage(k, f"{k}.jpg", "", fake(30_000, k)) for k in range(10)]
    page = write(tmp_path, rows=many, images=images, max_bytes=300_000)
    assert len(page) < 350_000
    data = embedded(page)
    with_panel = [entry["iou"] for entry in data if entry["panel"]]
    assert with_panel == [0.0, 0.1, 0.2]
    assert "3 of 10 panel strips are in this page" in page
    assert "3 of 10 pictures of images are in this page" in page
    everything = write(tmp_path, rows=many, images=images)
    assert "of 10 p" not in everything
    assert all(entry["panel"] for entry in embedded(everything))


def test_png_panels_are_made_small(tmp_path):
    panels = {entry["id"]: entry["panel"] for entry in embedded(write(tmp_path))}
    assert panels[11] is None
    assert panels[13].startswith("data:image/webp;base64,")


def test_an_empty_run_and_a_run_without_truth_have_a_page(tmp_path):
    page = write(tmp_path, rows=[], images=[], summary=None, figures=None, facts=None)
    assert "There are no pictures of images" in page
    assert embedded(page) == []
    unknown = write(tmp_path, rows=[item(1, 0.5, None)])
    assert '<option value="quality">score</option>' in unknown
    assert 'value="score"' not in unknown
    assert '<option value="quality">IoU, else score</option><option value="score">' in write(
        tmp_path
    )


def test_mistakes_are_told(tmp_path):
    with pytest.raises(ValueError, match="not a PNG, JPEG, WebP or GIF"):
        write(tmp_path, rows=[item(1, 0.5, None, picture=b"<svg></svg>")])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        report.write_report(tmp_path / "file" / "report.html", title="", rows=[])


def test_undecodable_file_names_do_not_stop_the_report(tmp_path):
    page = write(tmp_path, rows=[item(1, 0.5, 0.5, file_name="caf\udce9.jpg")])
    assert embedded(page)[0]["file"] == "caf\udce9.jpg"


def test_the_worst_come_first(tmp_path):
    assert [entry["id"] for entry in embedded(write(tmp_path))] == [14, 12, 21, 11, 13]


def test_photographs_without_room_are_made_small_the_best_first(tmp_path):
    many = [item(k, 0.5, k / 10, picture=picture("PNG", 300, k)) for k in range(10)]
    page = write(tmp_path, rows=many, figures=None, images=[], max_bytes=1_800_000)
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(content))).size[0]
        for content in re.findall(r'base64,([A-Za-z0-9+/=]+)" alt="Part of', page)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert {*sizes} == {300, 240}
    everything = write(tmp_path, rows=many, figures=None, images=[])
    assert everything.count('alt="Part of') == 10
    assert len(page) < len(everything)


def test_a_choice_of_instances_is_said(tmp_path):
    assert "5 of 90 instances are in this page (report.max_items)" in write(tmp_path, total=90)
    assert "instances are in this page" not in write(tmp_path, total=5)


def test_label_truth_and_points_can_be_told_apart():
    drawn = report_cards.item_marks(7, MARKS)
    assert 'viewBox="0 0 12 12"' in drawn
    assert drawn.count(MARKS.label) == drawn.count(MARKS.truth) == 1  # drawn twice, there once
    for kind in ("truth", "mask line", "points"):
        group = re.search(rf'<g class="{kind}">(.*?)</g>', drawn)[1]
        assert [*re.findall(r'class="(\w+)"', group)] == ["casing", "core"]
    # The fill lies under the truth's line, which would change its colour otherwise.
    assert drawn.index('class="fill"') < drawn.index('class="truth"') < drawn.index("mask line")
    bare = report_cards.item_marks(7, Marks((12, 12), MARKS.label, 16))
    assert "truth" not in bare
    assert "points" not in bare


def test_masks_of_an_image_have_numbers_and_the_small_ones_lie_on_top():
    large = Marks((12, 12), "M0 0h9v9h-9z", 81)
    drawn = report_cards.image_marks(3, {11: MARKS, 12: large, 13: Marks((12, 12), "", 0)})
    order = re.findall(r'class="mask line" style="--core:(#\w+)" data-id="(\d+)"', drawn)
    colours = [drawing.hexadecimal(drawing.distinct_colour(k)) for k in (1, 0)]
    assert order == [*zip(colours, ["12", "11"], strict=True)]
    assert 'data-id="12" data-number="2"' in drawn


def test_the_head_shows_a_long_command_on_its_own_line():
    facts = report_page.facts_list({"made": "2026-01-01", "command": "main.py " + "--x=<1> " * 20})
    assert facts.count("class=wide") == 1
    assert "--x=&lt;1&gt;" in facts


# --- in a browser ---------------------------------------------------------------------------------

NARROW = (390, 800)
# What a person would do, as the script of a person: it writes down what is seen after each step.
TOOLS = """
const seen = {};
const shown = () => [...document.querySelectorAll(".card:not([hidden]) small")]
  .map((id) => Number(id.textContent.slice(1)));
const choose = (name, value, type = "input") => {
  form.elements[name].value = value;
  form.elements[name].dispatchEvent(new Event(type, { bubbles: true }));
};
const key = (name, target = well) => target.dispatchEvent(
  new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
const card = (id) => itemOf.get(String(id)).card;
const title = () => byId("viewer-title").textContent;
const tally = () => byId("tally").textContent;
const pressed = (within) => [...within.querySelectorAll("[data-verdict]")]
  .map((button) => button.getAttribute("aria-pressed")).join();
const closed = () => new Promise((go) => viewer.addEventListener("close", go, { once: true }));
const later = (wait = 0) => new Promise((go) => setTimeout(go, wait));
"""
STEPS = """
seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
seen.worst_first = shown();
choose("sort", "score"); seen.score = shown();
choose("direction", "down", "change"); seen.score_down = shown();
choose("sort", "area"); seen.area_down = shown();
choose("category", "coin", "change"); seen.coin = shown();
choose("min_score", "0.6"); seen.min_score = shown(); seen.count = byId("count").textContent;
choose("min_score", "0"); choose("flag", "holes:1"); seen.flag = shown();
choose("search", "99"); seen.none = shown(); seen.nothing = !byId("nothing").hidden;
choose("search", ""); choose("flag", ""); seen.address = location.hash;
document.querySelector(".card:not([hidden]) a").click();
seen.open = [viewer.open, title(), location.hash];
seen.panel = document.querySelector("#viewer-panel img").src.slice(0, 15);
seen.focused = document.activeElement.id;
key("ArrowLeft"); seen.at_first = title();
key("ArrowRight"); seen.second = [title(), byId("viewer-place").textContent];
  viewer.close(); await closed();
  seen.focus = document.activeElement.hash;
  form.reset(); await later();
  seen.reset = shown(); seen.address_reset = location.hash;
  document.querySelector(".shot a").click();
  seen.image = [viewer.open, title(), location.hash];
  byId("only-these").click(); await closed();
  seen.its = [viewer.open, shown()];
"""
REVIEW = """
  seen.before = tally();
  card(14).querySelector("[data-verdict=reject]").click();
  seen.rejected = [card(14).dataset.state, pressed(card(14)), tally()];
  card(14).querySelector("[data-verdict=reject]").click();
  seen.taken_back = pressed(card(14));
  card(12).querySelector("a").focus();
  key("a", document.activeElement); seen.key = [card(12).dataset.state, location.hash];
  key("ArrowRight", document.activeElement); seen.moved = document.activeElement.hash;
  key("Enter", document.activeElement); document.activeElement.click();
  key("r"); seen.next = [title(), pressed(viewer)];
  key("ArrowLeft"); seen.decided = [title(), pressed(viewer)];
  byId("go-on").checked = false;
  key("u"); key("r"); seen.stayed = title();
  viewer.close(); await closed();
  choose("decision", "reject", "change"); seen.only_rejected = shown();
  choose("decision", "");
  seen.file = decisionsFile(false);
  let saved = null;
  URL.createObjectURL = (blob) => { saved = blob; return "data:,"; };
  HTMLAnchorElement.prototype.click = function () { seen.name = this.download; };
  byId("save").click();
  seen.saved = JSON.parse(await saved.text());
  window.confirm = () => true;
  byId("forget").click(); seen.forgotten = [tally(), byId("save").disabled];
  const again = { ...seen.file, decisions: { ...seen.file.decisions, 11: "accept", 99: "reject" } };
  again.masks = { ...seen.file.masks, 11: "another" };
  await load(new File([JSON.stringify(again)], "again.json"));
  seen.loaded = [tally(), document.querySelector(".said").textContent];
  await load(new File(['{"decisions": {"14": "maybe"}}'], "bad.json"));
  seen.bad = document.querySelector(".said").textContent;
  await load(new File(['{"__proto__": "accept"}'], "odd.json"));
  seen.odd = document.querySelector(".said").textContent;
  await load(new File(['[1'], "cut.json"));
  seen.cut = document.querySelector(".said").textContent.slice(0, 33);
  seen.kept = tally();
"""
REMEMBERED = """
seen.tally = tally(); seen.said = document.querySelector(".said").textContent;
"""
ZOOM = """
  const zoomed = () => [byId("zoom").textContent, Math.round(stage.offsetWidth)];
  document.querySelector(".card a").click();
  const fit = Math.min(well.clientWidth, well.clientHeight);
  seen.fit = Math.round(stage.offsetWidth) === Math.round(fit);
  seen.sharp = stage.classList.contains("pixels");
  seen.drawn = [...stage.children].map((part) => part.tagName);
  key("+"); seen.plus = byId("zoom").textContent;
  const { left, top } = stage.getBoundingClientRect();
  const at = { clientX: left + stage.offsetWidth / 2, clientY: top + stage.offsetHeight / 4 };
  well.dispatchEvent(new WheelEvent("wheel", { deltaY: -300, cancelable: true, ...at }));
  const now = stage.getBoundingClientRect();
  // What was under the pointer still is.
  const share = [(at.clientX - now.left) / now.width, (at.clientY - now.top) / now.height];
  seen.stays = share.map((value) => Math.round(100 * value));
  for (let k = 0; k < 9; k++) byId("zoom-in").click();
  seen.most = [byId("zoom").textContent, byId("zoom-in").disabled, stage.offsetWidth > 7.9 * fit];
  key("0"); seen.whole = [byId("zoom").textContent, byId("zoom-fit").disabled];
  viewer.close(); await closed();
  const visible = (name) => {
    const drawn = [...document.querySelectorAll(`.card .marks ${name} use`)];
    return drawn.filter((part) => getComputedStyle(part).visibility === "visible").length;
  };
  seen.layers = [visible(".mask"), visible(".truth"), visible(".points")];
  key("m", document.body); seen.no_masks = [visible(".mask"), visible(".truth"), location.hash];
  key("t", document.body); seen.no_truth = visible(".truth");
  const buttons = [...document.querySelectorAll(".bar .layer")];
  seen.buttons = buttons.filter((one) => getComputedStyle(one).visibility === "visible").length;
  const button = document.querySelector(".bar [data-layer=mask]");
  seen.off = button.getAttribute("aria-pressed"); button.click();
  seen.on = [button.getAttribute("aria-pressed"), visible(".mask"), location.hash];
  key("m", form.elements.search); seen.typed = visible(".mask"); // somebody types
  document.querySelector(".shot a").click();
  seen.numbers = [...stage.querySelectorAll(".tag")].map((tag) => tag.textContent);
  seen.names = [...document.querySelectorAll("#viewer-names a")].map((link) => link.textContent);
  stage.querySelectorAll(".tag")[1].click(); seen.from_tag = title();
"""


@pytest.fixture
def driven(tmp_path):
    """A function that writes a report, does a person's steps in it, and returns what was seen."""
    executable = browser.chromium()

    def drive(steps, fragment="", size=(1280, 900), **changes):
        write(tmp_path, **changes)
        with browser.browser(executable, tmp_path / "profile") as page:
            page.open(tmp_path / "report.html", fragment, size)
            return page.run(f"{TOOLS}{steps}\nreturn seen;")

    return drive


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("", [14, 12, 21, 11, 13]),
        ("#sort=order&category=coin", [11, 13, 21]),
        ("#sort=score&direction=down&min_score=0.5&search=1", [11, 14, 13, 21]),
    ],
)
def test_the_address_sets_order_and_filters(driven, fragment, expected):
    seen = driven("seen.shown = shown(); seen.count = byId('count').textContent;", fragment)
    assert seen == {"shown": expected, "count": f"{len(expected)} of 5 shown"}


def test_the_address_opens_an_instance(driven):
    steps = """
    const fact = [...byId("viewer-facts").children].find((pair) => /^IoU/.test(pair.textContent));
    Object.assign(seen, { shown: shown(), title: title(), open: viewer.open });
    seen.head = document.title;
    Object.assign(seen, { iou: fact.textContent, hidden: document.body.className });
    """
    assert driven(steps, "#flag=(none)&hide=mask,points&item=14", NARROW) == {
        "shown": [14, 21, 11],
        "title": f"{QUOTED} #14",
        "open": True,
        "head": f"Report {NASTY}",
        "iou": "IoU0.100",
        "hidden": "no-mask no-points",
    }


@pytest.mark.parametrize("size", [(1280, 900), NARROW])
def test_a_person_sorts_filters_opens_and_steps(driven, size):
    seen = driven(STEPS, size=size)
    assert seen.pop("overflow") <= 0  # nothing sticks out sideways
    assert seen == {
        "worst_first": [14, 12, 21, 11, 13],
        "score": [12, 13, 21, 14, 11],
        "score_down": [11, 14, 13, 21, 12],
        "area_down": [13, 21, 11, 14, 12],
        "coin": [13, 21, 11],
        "min_score": [11],
        "count": "1 of 5 shown",
        "flag": [13],
        "none": [],
        "nothing": True,
        "address": "#sort=area&direction=down&category=coin",
        "open": [True, "coin #13", "#sort=area&direction=down&category=coin&item=13"],
        "panel": "data:image/webp",
        "focused": "well",
        "at_first": "coin #13",
        "second": ["coin #21", "2 of 3"],
        "focus": "#item=21",
        "reset": [14, 12, 21, 11, 13],
        "address_reset": "",
        "image": [True, QUOTED, "#image=1"],
        "its": [False, [14]],
    }


def test_a_person_reviews_saves_and_loads(driven):
    review = {"run": "r1", "labels_sha256": "abc", "decisions": {}, "masks": {}}
    seen = driven(REVIEW, review=review)
    about = seen["file"].pop("about")
    assert "label.decisions" in about
    assert seen.pop("saved") == {"about": about, **seen["file"]}
    assert seen == {
        "before": "0 accepted, 0 rejected, 5 open",
        "rejected": ["reject", "false,true", "0 accepted, 1 rejected, 4 open"],
        "taken_back": "false,false",
        "key": ["accept", ""],
        "moved": "#item=21",
        "next": ["coin #11", "false,false"],
        "decided": ["coin #21", "false,true"],
        "stayed": "coin #21",
        "only_rejected": [21],
        "file": {
            "labels_sha256": "abc",
            "decisions": {"12": "accept", "21": "reject"},
            "masks": {"12": "mask12", "21": "mask21"},
        },
        "name": "review_decisions.json",
        "forgotten": ["0 accepted, 0 rejected, 5 open", True],
        "loaded": [
            "1 accepted, 1 rejected, 3 open; 1 about masks not on this page",
            "3 decisions loaded from again.json; 1 left out: their masks have changed since",
        ],
        "bad": 'bad.json: not a file of decisions: the decision about annotation 14 is "maybe"',
        "odd": 'odd.json: not a file of decisions: "__proto__" is not an annotation id',
        "cut": "cut.json: not a file of decisions",
        "kept": "1 accepted, 1 rejected, 3 open; 1 about masks not on this page",
    }


def test_the_file_that_the_page_saves_is_one_that_labelling_reads(tmp_path):
    write(tmp_path, review={"run": "r1", "labels_sha256": "abc"})
    steps = """
    card(12).querySelector("[data-verdict=reject]").click();
    card(21).querySelector("[data-verdict=accept]").click();
    byId("save").click();
    """
    with browser.browser(browser.chromium(), tmp_path / "profile") as page:
        page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        page.open(tmp_path / "report.html")
        page.run(TOOLS + steps)
        file = tmp_path / "review_decisions.json"
        for _ in range(300):
            if file.exists():
                break
            time.sleep(0.1)
    assert read_decisions(file) == {
        12: Decision("reject", "mask12"),
        21: Decision("accept", "mask21"),
    }


def test_decisions_outlive_the_page_and_only_for_their_run_and_masks(tmp_path):
    path = tmp_path / "report.html"
    with browser.browser(browser.chromium(), tmp_path / "profile") as page:

        def seen(steps=REMEMBERED, **review):
            write(tmp_path, review=review)
            page.open(path)
            return page.run(f"{TOOLS}{steps}\nreturn seen;")

        known = {"run": "r1", "decisions": {"14": "accept"}, "masks": {"14": "mask14"}}
        assert seen(**known) == {"tally": "1 accepted, 0 rejected, 4 open", "said": ""}
        seen(REVIEW, run="r1")
        # Now the browser remembers 12 accepted, 21 rejected, one that is not on the page, and that
        # 14 was taken back, though the labels were written with it.
        now = "1 accepted, 1 rejected, 3 open; 1 about masks not on this page"
        assert seen(**known)["tally"] == now
        other = seen(**known | {"run": "another"})
        assert other["tally"] == "1 accepted, 0 rejected, 4 open"
        changed = seen(**known | {"masks": {"14": "before"}})
        assert changed["tally"] == now
        assert "1 left out: their masks have changed since" in changed["said"]


def test_a_person_zooms_and_hides_layers(driven):
    seen = driven(ZOOM)
    assert seen == {
        "fit": True,
        "sharp": True,
        "drawn": ["IMG", "svg"],
        "plus": "1.5×",
        "stays": [50, 25],
        "most": ["8.0×", True, True],
        "whole": ["1.0×", True],
        "layers": [15, 10, 10],
        "no_masks": [0, 10, "#hide=mask"],
        "no_truth": 0,
        "buttons": 4,
        "off": "false",
        "on": ["true", 15, "#hide=truth"],
        "typed": 15,
        "numbers": ["1", "2"],
        "names": ["1 coin", f"2 {QUOTED}"],
        "from_tag": f"{QUOTED} #14",
    }
