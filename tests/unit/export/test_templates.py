"""Templates: which are taken, and the exact sentences they make."""

from __future__ import annotations

from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.templates import Templates, with_article

AN = """
airplane, automobile, apple, ant, alarm clock, artichoke, aquarium, eagle, elephant, egg, earthworm, earwig, eel, elm,
emu, ermine, espresso, iPod, igloo, iguana, iris, island, ivory gull, ocean liner, olive, onion, orange, orchid,
ostrich, otter, owl, oyster, ox, oven, open-faced sandwich, oscilloscope, oud, uncle, umbrella, umpire, undershirt,
unknown object, underpass, unimproved road, uninhabited island, unidentified bird, unripe banana, upright piano, urn,
urban area, urchin, usher, utter mess, hour, hourglass, honest man, honor guard, honour, heirloom tomato, heir,
hors d'oeuvre, X-ray, x-ray image, F-16, F/A-18, MD-80, M-16 rifle, L-shaped desk, SUV, MRI scan, LED lamp, N95 mask,
8-ball, 80-year-old, 18-wheeler, 11, éclair, École, örtug, Über, Umbra,
RC car, SD card, SLR camera, SLRs, NFL helmet, HDMI cable, FM radio, HP printer, LP record, MX-5, NBA player, FBI agent,
HVAC unit, NYC taxi, HTML page, XL shirt, RNA strand, ATM, EKG, SQL book, OLED screen, IV drip, upside-down cake,
uproar, ugly duckling, Ultrasound image, Aardvark
"""
A = """
bird, boat, beagle, cat, car, deer, dog, frog, horse, ship, truck, hat, hen, house, honeycomb, honeybee, Honda, hero,
hippopotamus, herb garden, ladybug, leopard, lion, mouse, mushroom, nail, newt, rabbit, rose, sea snake, snail, spruce,
starfish, xylophone, yak, yacht, zebra, fox, medicine, NASA rocket, MiG-29, Möwe, Ñandú, Honolulu beach,
university, uniform, unicorn, unicycle, union, unit, Unimog, universe, European bison, eucalyptus, eunuch, ewe, ewer,
one, one-way street, once-over, onesie, Ouija board, Ural owl, uranium mine, Uruguayan, urinal, urologist, user,
used car, usual suspect, USB stick, US flag, USA map, utility pole, utensil, ute, Utah juniper, ukulele, Ukrainian,
UK flag, UFO, Ugandan kob, Ulysses butterfly, UV lamp, ubiquitous weed, UPS truck, U-boat, u-turn sign, U.S. flag,
uakari, GPS, DVD, PC, TV, BMX bike, CD, LYNX, FLY, FJORD, SHIP, SPHINX, SWAT van,
RHINO, FROG, Mr. Potato Head, McLaren, McDonald's, Rwandan flag, Sri Lankan flag, STREET,
747, 1965 Volvo, 7-eleven, 100, 180, 1100
"""


def nouns(table: str) -> list[str]:
    return [noun.strip() for noun in table.replace("\n", " ").split(",")]


@pytest.mark.parametrize("noun", nouns(AN))
def test_an(noun: str) -> None:
    assert with_article(noun) == f"an {noun}"


@pytest.mark.parametrize("noun", nouns(A))
def test_a(noun: str) -> None:
    assert with_article(noun) == f"a {noun}"


def test_no_noun_at_all() -> None:
    assert with_article("") == "a "


@pytest.mark.parametrize(
    ("kind", "words", "sentence"),
    [
        ("name", {"class": "airplane"}, "a photo of an airplane."),
        ("attribute", {"class": "cat", "text": "whiskers"}, "a photo of a cat, which has whiskers."),
        ("analogous", {"class": "cat", "text": "ocelot"}, "a photo of a cat, similar to an ocelot."),
        ("synonym", {"class": "cat", "text": "house cat"}, "a photo of a house cat."),
        (
            "pair",
            {"class": "cat", "other": "elk", "text": "retractable claws"},
            "Because of retractable claws, a cat is different from an elk.",
        ),
    ],
)
def test_the_default_sentences(kind: str, words: dict[str, str], sentence: str) -> None:
    assert Templates().render(kind, words) == [sentence]


def test_every_template_of_a_kind_in_order() -> None:
    templates = Templates.from_json({"name": ["{class}", "an image of {a class}"]}, where="t")
    assert templates.render("name", {"class": "owl"}) == ["owl", "an image of an owl"]


def test_what_is_put_in_is_not_read_again() -> None:
    words = {"class": "{text}", "text": r"a {a class} \1"}
    assert Templates().render("attribute", words) == [r"a photo of a {text}, which has a {a class} \1."]


def test_kinds_left_out_keep_their_default() -> None:
    templates = Templates.from_json({"name": ["{class}"]}, where="t")
    assert templates == Templates(name=("{class}",))
    assert templates.pair == Templates().pair
    assert Templates.from_json({}, where="t") == Templates()


def test_all_kinds() -> None:
    data = {
        "name": ["a satellite photo of {class}"],
        "attribute": ["{text}"],
        "analogous": ["{a text}", "{class}: {text}"],
        "synonym": ["{a class}, that is {a text}"],
        "pair": ["{a class}, not {a other}: {text}"],
    }
    templates = Templates.from_json(data, where="t")
    assert {kind: list(getattr(templates, kind)) for kind in data} == data


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (["a {class}"], r"got \['a \{class\}'\]"),
        ("a photo", "got 'a photo'"),
        (None, "got None"),
        (1, "got 1"),
        ({"names": []}, r"got an object with \['names'\]"),
        ({"name": ["{class}"], "atribute": ["{text}"]}, r"got an object with \['atribute', 'name'\]"),
    ],
)
def test_not_an_object_of_the_kinds(data: object, got: str) -> None:
    wanted = "expected an object with the keys name, attribute, analogous, synonym, pair, "
    with pytest.raises(TextsError, match=f"^sets/x/templates.json: {wanted}{got}$"):
        Templates.from_json(data, where="sets/x/templates.json")


@pytest.mark.parametrize(
    ("templates", "got"),
    [
        ([], r"\[\]"),
        ("{class}", r"'\{class\}'"),
        (None, "None"),
        (["{class}", 1], r"\['\{class\}', 1\]"),
        ({"{class}": 1}, r"an object with \['\{class\}'\]"),
    ],
)
def test_not_a_list_of_strings(templates: Any, got: str) -> None:
    with pytest.raises(TextsError, match=rf"^t: 'name' must be a non-empty list of strings, got {got}$"):
        Templates.from_json({"name": templates}, where="t")


@pytest.mark.parametrize(
    ("kind", "template", "got", "allowed", "needed"),
    [
        ("name", "a photo of {klass}", "'klass'", "'class'", "class"),
        ("name", "{class} and {text}", "'class', 'text'", "'class'", "class"),
        ("name", "a photo", "", "'class'", "class"),
        ("name", "", "", "'class'", "class"),
        ("name", "{class}, {an class}", "'an class', 'class'", "'class'", "class"),
        ("name", "{class}, {}", "'', 'class'", "'class'", "class"),
        ("attribute", "{text}, {the class}", "'text', 'the class'", "'class', 'text'", "text"),
        ("attribute", "{text}, { class }", "' class ', 'text'", "'class', 'text'", "text"),
        ("attribute", "a photo of {a class}", "'class'", "'class', 'text'", "text"),
        ("analogous", "{text} {other}", "'other', 'text'", "'class', 'text'", "text"),
        ("synonym", "{class}", "'class'", "'class', 'text'", "text"),
        ("pair", "{a class}, not {a other}", "'class', 'other'", "'class', 'other', 'text'", "text"),
        ("pair", "{text}: {class_name}", "'class_name', 'text'", "'class', 'other', 'text'", "text"),
    ],
)
def test_unknown_and_missing_placeholders(kind: str, template: str, got: str, allowed: str, needed: str) -> None:
    with pytest.raises(
        TextsError, match=rf"^t: template .* of '{kind}' has the placeholders \[.*allowed are \["
    ) as caught:
        Templates.from_json({kind: [template]}, where="t")
    message = str(caught.value)
    assert f"template {template!r} of" in message
    assert f"placeholders [{got}]; allowed are [{allowed}], and {{{needed}}} must be there" in message


def test_a_good_template_does_not_hide_a_bad_one() -> None:
    with pytest.raises(TextsError, match=r"template 'cat' of 'name'"):
        Templates.from_json({"name": ["{class}", "cat"]}, where="t")


# domains, and back to JSON


@pytest.mark.parametrize(
    ("domain", "name", "pair"),
    [
        ("photo", "a photo of {a class}.", "Because of {text}, {a class} is different from {a other}."),
        ("satellite photo", "a satellite photo of {a class}.", Templates().pair[0]),
        ("aerial photo", "an aerial photo of {a class}.", Templates().pair[0]),
        ("X-ray", "an X-ray of {a class}.", Templates().pair[0]),
    ],
)
def test_templates_of_a_domain(domain: str, name: str, pair: str) -> None:
    found = Templates().of_domain(domain)
    assert (found.name, found.pair) == ((name,), (pair,))
    assert found.attribute == (f"{with_article(domain)} of {{a class}}, which has {{text}}.",)
    assert found.synonym == (f"{with_article(domain)} of {{a text}}.",)


def test_every_template_of_a_kind_is_of_the_domain() -> None:
    found = Templates(name=("a photo of {class}.", "{class}", "a photo: a photo of {class}")).of_domain("sketch")
    assert found.name == ("a sketch of {class}.", "{class}", "a sketch: a sketch of {class}")


def test_to_json_and_back() -> None:
    templates = Templates(name=("{class}", "my {class}"), pair=("{text}!",)).of_domain("sketch")
    data = templates.to_json()
    assert Templates.from_json(data, where="t") == templates
    assert data["name"] == ["{class}", "my {class}"]
    assert list(data) == ["name", "attribute", "analogous", "synonym", "pair"]
