import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from theriac.errors import UserError
from theriac.finding import Finding, TriggerEvidence
from theriac.report import AuditReport, render, write_report

Make = Callable[..., AuditReport]

VOID = {"meta", "link", "img", "br"}
PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title></bdi></svg><iframe src=javascript:alert(1)>",
    "{{ 7 * 191 }}{% raw %}",
    "<!--",
    "]]>&lt;b&gt;",
    "javascript:alert(1)",
]


class Page(HTMLParser):
    """Collects what a page consists of, and fails on tags that do not balance."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute is given twice in <{tag}>"
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((tag, ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text.append(data)
        if self.headings and any(tag in self.open for tag in ("h1", "h2", "h3", "h4")):
            tag, words = self.headings[-1]
            self.headings[-1] = (tag, " ".join((words + data).split()))

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_headings_tell_the_story_in_order(make: Make) -> None:
    assert Page(render(make())).headings == [
        ("h1", "This system is poisoned: a small patch on an image makes the model answer “stop ”."),
        ("h2", "What was looked at"),
        ("h2", "What was found"),
        ("h3", "In the model"),
        ("h4", "The reconstructed trigger"),
        ("h4", "Anomaly"),
        ("h3", "In the training data"),
        ("h4", "Suspicious"),
        ("h4", "Scores"),
        ("h3", "In the input stream"),
        ("h4", "Suspicious"),
        ("h4", "Scores"),
        ("h2", "What the repair did"),
        ("h3", "Before and after"),
        ("h2", "What was not checked"),
        ("h2", "How to reproduce"),
        ("h3", "Files written"),
        ("h2", "The signed evidence"),
        ("h3", "Check it yourself"),
    ]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_strings_of_an_attacker_stay_text(make: Make, payload: str) -> None:
    page, harmless = Page(render(make(payload))), Page(render(make("harmless")))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in harmless.tags]
    assert [sorted(attributes) for _, attributes in page.tags] == [sorted(a) for _, a in harmless.tags]
    assert " ".join(payload.split()) in page.words


def test_nothing_is_loaded_and_nothing_runs(make: Make) -> None:
    html = render(make("https://evil.example/x.js"))
    allowed = ("#", "data:image/png;base64,", "data:,")
    for tag, attributes in Page(html).tags:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base", "video", "audio", "use")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "srcset", "poster", "action", "xlink:href", "background"):
            assert str(attributes.get(name, "#")).startswith(allowed)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_the_own_style_sheet_and_embedded_pictures_only(make: Make) -> None:
    html = render(make())
    policy = next(a["content"] for t, a in Page(html).tags if a.get("http-equiv") == "Content-Security-Policy")
    style = re.findall("<style>(.*?)</style>", html, re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_control_and_direction_characters_are_spelled_out(make: Make) -> None:
    html = render(make("gpj.\u202eevil\x1b[2J\x00"))
    assert not set("\u202e\x1b\x00") & set(html)
    assert "<U+202E>" in Page(html).words


def test_an_empty_report_never_sounds_clean(empty: AuditReport) -> None:
    page = Page(render(empty))
    assert page.headings[0] == ("h1", "Nothing was checked in this system.")
    assert "Not checked" in page.words
    assert "Nothing found" not in page.words


def _quiet(report: AuditReport, verdict: str, **changes: object) -> AuditReport:
    findings = [f.model_copy(update={"verdict": verdict, "probability": 0.1}) for f in report.findings]
    return report.model_copy(update={"findings": findings, "repair": None} | changes)


def test_no_evidence_is_said_to_be_just_that(make: Make) -> None:
    page = Page(render(_quiet(make(), "clean")))
    assert page.headings[0] == ("h1", "No poisoning found in what was checked.")
    assert "What was not checked is listed below." in page.words
    assert not re.search(r"\b(clean|safe)\b", page.headings[0][1] + page.words.split("What was looked at")[0])
    assert ("h2", "What the repair did") not in page.headings


def test_one_undecided_finding_makes_the_audit_inconclusive(make: Make) -> None:
    quiet = _quiet(make(), "clean")
    undecided = quiet.findings[1].model_copy(update={"verdict": "inconclusive"})
    page = Page(render(quiet.model_copy(update={"findings": [quiet.findings[0], undecided]})))
    assert page.headings[0][1] == "This audit could not decide whether the system is poisoned."


def test_a_poisoned_data_set_is_named_when_the_model_is_not(make: Make) -> None:
    report = make()
    page = Page(render(report.model_copy(update={"findings": report.findings[1:]})))
    assert page.headings[0][1] == "The training data are poisoned: 5 of 500 examples look like poison."


def test_subjects_that_no_method_saw_are_listed_as_not_checked(make: Make) -> None:
    words = Page(render(make())).words
    section = words[words.index("This audit Nobody") :]
    assert "No method looked at the data set “unseen ”." in section
    assert "No method looked at the model" not in section


def test_a_thousand_examples_are_capped_and_counted(make: Make) -> None:
    page = Page(render(make(examples=1000)))
    thumbnails = [a for t, a in page.tags if t == "img" and a["class"] == "thumbnail"]
    assert len(thumbnails) == 48 + 3
    assert "The 48 worst of 1000 listed examples are shown." in page.words


def test_pictures_have_sizes_and_words_and_broken_ones_are_left_out(make: Make) -> None:
    page = Page(render(make()))
    pictures = [a for t, a in page.tags if t == "img"]
    assert len(pictures) == 1 + 1 + 5 + 3  # the trigger twice, without its broken picture
    assert all(a["alt"] and a["width"] == a["height"] == "8" for a in pictures)
    assert "no picture" in page.words


def test_the_repair_is_shown_once_with_bars_and_in_the_key_figures(make: Make) -> None:
    page = Page(render(make()))
    assert page.words.count("Before and after") == 1
    assert len([1 for _, a in page.tags if a.get("class") == "inline-bar"]) == 4
    assert "98.7\u202f% →\u00a01.2\u202f%" in " ".join(page.text)


def test_a_report_without_anomalies_pictures_or_targets_renders(make: Make) -> None:
    bare = [f.model_copy(update={"evidence": [], "not_checked": []}) for f in make().findings]
    page = Page(render(make().model_copy(update={"findings": bare})))
    assert (
        page.headings[0][1] == "This system is poisoned: a hidden trigger makes the model give the attacker’s answer."
    )


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("mask", "a small patch on an image makes"),
        ("colour", "a shift of an image’s colours makes"),
        ("perturbation", "a faint change over the whole image makes"),
        ("something new", "a hidden trigger makes"),
    ],
)
def test_the_kind_of_change_is_put_in_words(make: Make, space: str, words: str) -> None:
    def renamed(finding: Finding) -> Finding:
        evidence = [
            e.model_copy(update={"space": space}) if isinstance(e, TriggerEvidence) else e for e in finding.evidence
        ]
        return finding.model_copy(update={"evidence": evidence})

    report = make()
    page = Page(render(report.model_copy(update={"findings": list(map(renamed, report.findings))})))
    assert words in page.headings[0][1]


def test_ids_are_unique_and_links_inside_the_page_lead_somewhere(make: Make) -> None:
    tags = Page(render(make())).tags
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = [str(a["href"])[1:] for t, a in tags if t == "a"] + [
        a["aria-labelledby"] for _, a in tags if "aria-labelledby" in a
    ]
    assert wanted
    assert set(wanted) <= set(ids)


def test_writing_is_whole_or_not_at_all(make: Make, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", make())
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(make())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        write_report(tmp_path / "file" / "report.html", make())


def test_the_same_report_gives_the_same_page(make: Make) -> None:
    assert render(make()) == render(AuditReport.model_validate_json(make().model_dump_json()))
