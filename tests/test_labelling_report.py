"""The report page: safe text, nothing from outside, and sorting and filters in a real browser."""

import html
import html.parser
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from exits_jax.errors import UserError
from exits_jax.labelling import report, report_page
from exits_jax.labelling.report import ReportImage, ReportItem

NASTY = "</script><script>document.title='owned'</script>"
QUOTED = '"><img src=x onerror="document.title=\'owned\'">&amp;{{data}}'


def picture(kind="WEBP", side=12, seed=0):
    noise = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def item(annotation_id, score, iou, category="coin", flags=(), area=100.0, **more):
    given = {"file_name": f"{annotation_id:06}.jpg", "thumbnail": picture(), "image_id": 1} | more
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
        "images": [ReportImage(1, QUOTED, "5 instances", picture())],
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


def embedded(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found[1])


def test_text_of_users_is_escaped_and_comes_back_unchanged(tmp_path):
    page = write(tmp_path)
    elements = Elements(page)
    assert len(elements.named("script")) == 2
    assert "document.title='owned'" not in "".join(a for t in elements.tags for a in map(str, t[1]))
    assert all(attributes["src"].startswith("data:") for attributes in elements.named("img")[:-1])
    assert not any("onerror" in attributes for _, attributes in elements.tags)
    assert [entry["category"] for entry in embedded(page)] == [row.category for row in rows()]
    assert embedded(page)[3]["file"] == QUOTED
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
    assert "hidden" in elements.named("form")[0]
    text = " ".join(elements.texts)
    for row in rows():
        assert f"#{row.annotation_id}" in text
        assert f"score {row.score:.2f}" in text
    assert {a["alt"] for a in elements.named("img")} == {""}  # their text stands beside them
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
        item(100 + k, 0.5, k / 10, thumbnail=fake(1000, k), panel=fake(30_000, k))
        for k in range(10)
    ]
    images = [ReportImage(k, f"{k}.jpg", "", fake(30_000, k)) for k in range(10)]
    page = write(tmp_path, rows=many, images=images, max_bytes=300_000)
    assert len(page) < 330_000
    data = embedded(page)
    with_panel = [entry["iou"] for entry in data if entry["panel"]]
    assert with_panel == [0.0, 0.1, 0.2]
    assert "3 of 10 panel strips are in this page" in page
    assert "3 of 10 pictures of images are in this page" in page
    everything = write(tmp_path, rows=many, images=images)
    assert "of 10 p" not in everything
    assert all(entry["panel"] for entry in embedded(everything))


def test_png_panels_are_made_small(tmp_path):
    panels = [entry["panel"] for entry in embedded(write(tmp_path))]
    assert panels[0] is None
    assert panels[2].startswith("data:image/webp;base64,")


def test_an_empty_run_and_a_run_without_truth_have_a_page(tmp_path):
    page = write(tmp_path, rows=[], images=[], summary=None, figures=None, facts=None)
    assert "There are no pictures of images" in page
    assert embedded(page) == []
    unknown = write(tmp_path, rows=[item(1, 0.5, None)])
    assert 'value="iou"' not in unknown
    assert 'value="iou"' in write(tmp_path)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(ValueError, match="no PNG, JPEG, WebP or GIF"):
        write(tmp_path, rows=[item(1, 0.5, None, thumbnail=b"<svg></svg>")])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        report.write_report(tmp_path / "file" / "report.html", title="", rows=[])


def test_undecodable_file_names_do_not_stop_the_report(tmp_path):
    page = write(tmp_path, rows=[item(1, 0.5, 0.5, file_name="caf\udce9.jpg")])
    assert embedded(page)[0]["file"] == "caf\udce9.jpg"


# --- in a browser ---------------------------------------------------------------------------------

NARROW = "390,800"
# What a person would do, as the script of a person: it writes down what is seen after each step.
STEPS = """
<pre id="log"></pre><script>
const seen = {};
const shown = () => [...document.querySelectorAll(".card:not([hidden]) small")]
  .map((id) => Number(id.textContent.slice(1)));
const choose = (name, value) => {
  form.elements[name].value = value;
  form.elements[name].dispatchEvent(new Event("input", { bubbles: true }));
};
const key = (name) => viewer.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
const title = () => document.getElementById("viewer-title").textContent;
seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
choose("sort", "iou"); seen.iou = shown();
choose("direction", "down"); seen.iou_down = shown();
choose("sort", "area"); seen.area_down = shown();
choose("category", "coin"); seen.coin = shown();
choose("min_score", "0.6"); seen.min_score = shown(); seen.count = byId("count").textContent;
choose("min_score", "0"); choose("flag", "holes:1"); seen.flag = shown();
choose("search", "99"); seen.none = shown(); seen.nothing = !byId("nothing").hidden;
choose("search", ""); choose("flag", ""); seen.address = location.hash;
document.querySelector(".card:not([hidden]) a").click();
seen.open = [viewer.open, title(), location.hash];
seen.panel = document.querySelector("#viewer-picture img").src.slice(0, 15);
key("ArrowLeft"); seen.at_first = title();
key("ArrowRight"); seen.second = title();
const closed = () => new Promise((go) => viewer.addEventListener("close", go, { once: true }));
const later = () => new Promise((go) => setTimeout(go));
(async () => {
  viewer.close(); await closed();
  seen.focus = document.activeElement.hash;
  form.reset(); await later();
  seen.reset = shown(); seen.address_reset = location.hash;
  document.querySelector(".shot a").click();
  seen.image = [viewer.open, title(), location.hash];
  byId("only-these").click(); await closed();
  seen.its = [viewer.open, shown()];
  byId("log").textContent = JSON.stringify(seen);
})();
</script></body>"""


@pytest.fixture(scope="module")
def chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("no chromium on this machine: what the report does in a browser is SKIPPED")
    return found


def dumped(chromium, path, profile, fragment="", size="1280,900"):
    """The page's elements after its script has run, as the browser has them."""
    flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"]
    flags += ["disable-background-networking", "disable-component-update", "disable-sync"]
    flags += [f"user-data-dir={profile}", f"window-size={size}", "virtual-time-budget=3000"]
    command = [chromium, *(f"--{flag}" for flag in [*flags, "dump-dom"])]
    command.append(f"{path.as_uri()}{fragment}")
    run = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return run.stdout.decode()


def shown_cards(dom):
    cards = re.findall(r'<li class="card"( hidden="")?><a href="#item=(\d+)"', dom)
    return [int(annotation_id) for hidden, annotation_id in cards if not hidden]


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("#sort=iou&category=coin", [21, 11, 13]),
        ("#sort=score&direction=down&min_score=0.5&search=1", [11, 14, 13, 21]),
    ],
)
def test_the_address_sets_order_and_filters(chromium, tmp_path, fragment, expected):
    write(tmp_path)
    dom = dumped(chromium, tmp_path / "report.html", tmp_path / "profile", fragment)
    assert shown_cards(dom) == expected
    assert f"{len(expected)} of 5 shown" in dom


def test_the_address_opens_an_instance(chromium, tmp_path):
    write(tmp_path)
    path, profile = tmp_path / "report.html", tmp_path / "profile"
    dom = dumped(chromium, path, profile, "#flag=(none)&item=14", NARROW)
    assert shown_cards(dom) == [11, 14, 21]
    opened = dom[dom.index("<dialog") : dom.index("</dialog>")]
    assert 'open=""' in opened.split(">")[0]
    assert "#14</h2>" in opened
    assert re.search(r"<title>(.*?)</title>", dom)[1].startswith("Report &lt;/script&gt;")
    assert "<dt>IoU</dt><dd>0.100</dd>" in opened


@pytest.mark.parametrize("size", ["1280,900", NARROW])
def test_a_person_sorts_filters_opens_and_steps(chromium, tmp_path, size):
    page = write(tmp_path)
    (tmp_path / "driven.html").write_text(page.replace("</body>", STEPS), encoding="utf-8")
    dom = dumped(chromium, tmp_path / "driven.html", tmp_path / "profile", size=size)
    seen = json.loads(html.unescape(re.search(r'<pre id="log">(.*?)</pre>', dom)[1]))
    assert seen.pop("overflow") <= 0  # nothing sticks out sideways
    assert seen == {
        "iou": [14, 21, 11, 13, 12],  # without a number: last
        "iou_down": [13, 11, 21, 14, 12],
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
        "at_first": "coin #13",
        "second": "coin #21",
        "focus": "#item=21",
        "reset": [11, 12, 13, 14, 21],
        "address_reset": "",
        "image": [True, QUOTED, "#image=1"],
        "its": [False, [14]],
    }
