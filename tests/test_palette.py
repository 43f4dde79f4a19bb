"""One color for each expression, everywhere: pages, notebooks, plots and the local page."""

from __future__ import annotations

import re
from importlib import resources

from moppet import palette
from moppet.pages.report import write_report
from moppet.values import EXPRESSIONS
from report_samples import two_people


def variables(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+):(#\w+)", css))


def test_every_expression_and_group_has_a_color_of_its_own():
    assert set(palette.EXPRESSION_HUES) == set(EXPRESSIONS)
    for hues in (palette.EXPRESSION_HUES, palette.GROUP_HUES):
        assert len(set(hues.values())) == len(hues)
    assert palette.LIGHT.keys() == palette.DARK.keys()


def test_happiness_is_blue_in_the_report_as_in_the_palette(tmp_path):
    page = write_report(two_people(), tmp_path / "report.html").read_text(encoding="utf-8")
    light = re.search(r":root\{(--blue[^}]*)\}", page)[1]
    for name, color in palette.EXPRESSION_COLORS.items():
        hue = re.search(rf"\.e-{name}\{{--c:var\(--(\w+)\)\}}", page)[1]
        assert variables(light)[hue] == color


def test_other_classes_get_different_colors_while_there_are_enough():
    names = ["calm", "happiness", "cry", "sleepy", "shy", "bored"]
    css = [palette.expression_class(name, names) for name in names]
    assert len(set(css)) == len(names) and css[1] == "e-happiness"
    assert palette.group_class(None, ["good"]) == "g-none"


def test_the_local_page_has_the_same_palette():
    """If this fails: write palette.variables() to server/static/palette.css."""
    static = resources.files("moppet.server").joinpath("static")
    assert static.joinpath("palette.css").read_text(encoding="utf-8") == palette.variables()
    pages = [page for page in static.iterdir() if page.name.endswith(".html")]
    assert pages
    for page in pages:
        assert "/static/palette.css" in page.read_text(encoding="utf-8"), page.name
