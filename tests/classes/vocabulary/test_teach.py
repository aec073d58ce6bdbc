"""Teaching by examples, from pictures to a vocabulary that names what is in other pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
from skimage.measure import label

from napari_kindred.classes.config import TeachConfig
from napari_kindred.classes.proposals.base import Proposals
from napari_kindred.classes.proposals.masks import Masks
from napari_kindred.classes.proposals.open import SPECS
from napari_kindred.classes.vocabulary import teach
from napari_kindred.classes.vocabulary.examples import Example
from napari_kindred.classes.vocabulary.teach import iter_teach_classes, teach_classes
from napari_kindred.core.errors import InputError
from napari_kindred.core.events import Notice, Progress, finish
from napari_kindred.images.stack import normalise

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

QUICK = TeachConfig(hidden=64, folds=0)


def smear(seed: int, kinds: str = "rw") -> tuple[np.ndarray, dict[str, list[tuple[int, int]]]]:
    """A picture of 12 discs, red, white or green, at places of a grid; and where each is."""
    random = np.random.default_rng(seed)
    picture = random.integers(10, 30, (60, 80, 3)).astype(np.uint8)
    rows, columns = np.mgrid[:60, :80]
    places: dict[str, list[tuple[int, int]]] = {kind: [] for kind in "rwg"}
    for number in range(12):
        y, x = 10 + 20 * (number // 4), 10 + 20 * (number % 4)
        kind = kinds[number % len(kinds)]
        colour = {"r": (200, 60, 60), "w": (220, 220, 220), "g": (40, 190, 60)}[kind]
        inside = (rows - y) ** 2 + (columns - x) ** 2 < (6 + random.integers(0, 2)) ** 2
        picture[inside] = np.array(colour) + random.integers(-15, 15, 3)
        places[kind].append((y, x))
    return picture, places


class Colours:
    """Proposes what is bright, or tiles of 5 x 5; a mask's vector is its mean colour, and noise."""

    def __init__(self, kind: str) -> None:
        self.kind, self.spec = kind, SPECS[kind]("colours", "0" * 64)

    def iter_propose(self, pixels: np.ndarray) -> Generator[Progress, None, Proposals]:
        yield Progress(1, 1, "looking")
        labels = label(pixels.max(-1) > 0.25)
        if self.kind == "regions":
            rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
            labels = rows // 5 * 100 + columns // 5 + 1
        masks = Masks.from_labels(labels)
        count = len(masks)
        vectors = np.random.default_rng(count).normal(0, 0.1, (count, 5))
        for i in range(count):
            vectors[i, :3] += pixels[masks.place(i)][masks.crops[i]].mean(0)
        points = np.zeros((count, 2), np.float32)
        return Proposals(masks, vectors.astype(np.float32), np.ones(count, np.float32), points,
                         self.spec)  # fmt: skip


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    kinds: list[str] = []

    def open_colours(kind: str, *_: Any, **__: Any) -> Colours:
        kinds.append(kind)
        return Colours(kind)

    monkeypatch.setattr(teach, "open_proposer", open_colours)
    return kinds


def named_right(vocabulary: Any, seed: int, names: dict[str, str], kind: str = "entities") -> float:
    """Share of another picture's discs that get the name of their kind."""
    picture, places = smear(seed, "".join(names))
    found = finish(Colours(kind).iter_propose(normalise(picture.astype(np.float32))))
    scores = vocabulary.scores(found.embeddings, list(names.values()))
    right = []
    for number, kind in enumerate(names):
        on = found.masks.contain(places[kind])
        right += [scores[on[:, i]][0].argmax() == number for i in range(on.shape[1])]
    return float(np.mean(right))


def test_names_of_whole_pictures_are_enough_where_they_differ() -> None:
    examples = [Example(smear(i, k)[0], names=(n,)) for i, (k, n) in
                enumerate([("rg", "red"), ("wg", "white")] * 3)]  # fmt: skip
    vocabulary = teach_classes(examples, config=QUICK)
    assert vocabulary.names == ("red", "white")
    assert named_right(vocabulary, 9, {"r": "red", "w": "white"}) == 1


def test_a_point_on_one_thing_of_each_class_is_enough(opened: list[str]) -> None:
    picture, places = smear(1)
    example = Example(picture, points={"red": places["r"][:1], "white": places["w"][:1]})
    vocabulary = teach_classes([example], config=QUICK)
    assert opened == ["entities"]
    assert vocabulary.spec.kind == "entities"
    assert vocabulary.origin == "1 examples, 1 of them marked"
    assert named_right(vocabulary, 9, {"r": "red", "w": "white"}) == 1


def test_boxes_and_labels_teach_as_well() -> None:
    picture, places = smear(1)
    boxes = {name: [(y - 7, x - 7, y + 8, x + 8) for y, x in places[kind]]
             for kind, name in (("r", "red"), ("w", "white"))}  # fmt: skip
    labels = np.zeros(picture.shape[:2], int)
    for number, kind in ((1, "r"), (2, "w")):
        for y, x in places[kind]:
            labels[y - 2 : y + 3, x - 2 : x + 3] = number
    for marks in ({"boxes": boxes}, {"labels": labels, "label_names": {1: "red", 2: "white"}}):
        vocabulary = teach_classes([Example(picture, **marks)], config=QUICK)
        assert named_right(vocabulary, 9, {"r": "red", "w": "white"}) == 1


def test_one_class_is_learnt_from_marks_on_it_and_on_background() -> None:
    picture, places = smear(1)
    example = Example(picture, points={"red": places["r"], "background": places["w"]})
    vocabulary = teach_classes([example], config=QUICK)
    found = finish(Colours("entities").iter_propose(normalise(smear(9)[0].astype(np.float32))))
    red = found.masks.contain(smear(9)[1]["r"]).any(1)
    scores = vocabulary.scores(found.embeddings)[:, 0]
    assert scores[red].min() > 0.5 > scores[~red].max()


def test_one_class_with_nothing_beside_it_is_taught_with_a_warning() -> None:
    job = iter_teach_classes([Example(smear(1)[0], names=("cell",))], config=QUICK)
    events: list[Any] = []
    vocabulary = finish(job, events.append)
    notes = [event.text for event in events if isinstance(event, Notice)]
    assert ["everything that is found will be taken for it" in note for note in notes] == [True]
    assert vocabulary.scores(np.zeros((3, 5))).min() == 1


def test_marks_that_lie_between_the_entities_call_for_regions(opened: list[str]) -> None:
    picture, places = smear(1)
    boxes = {"red": [(y - 7, x - 7, y + 7, x + 7) for y, x in places["r"]],
             "ground": [(18, 18, 22, 22), (38, 38, 42, 42), (0, 0, 3, 3)]}  # fmt: skip
    job = iter_teach_classes([Example(picture, boxes=boxes)], config=QUICK)
    texts = [event.text for event in job if isinstance(event, Notice)]
    assert opened == ["entities", "regions"]
    text = texts[0]
    assert text.startswith("These are no whole cells or nuclei (0 of 3 marks of 'ground' lie on")


def test_one_class_alone_is_taught_with_the_advice_to_mark_others() -> None:
    """Else what looks alike, such as red cells beside white ones, is taken along in silence."""
    picture, places = smear(1)
    boxes = {"red": [(y - 7, x - 7, y + 7, x + 7) for y, x in places["r"]]}
    ground = {"background": [(20, 20)]}
    for more, said in (({}, 1), ({"points": ground}, 0), ({"complete": True}, 0)):
        job = iter_teach_classes([Example(picture, boxes=boxes, **more)], config=QUICK)
        texts = [event.text for event in job if isinstance(event, Notice)]
        assert sum("Only 'red' is marked" in text for text in texts) == said


def test_lost_marks_are_errors_in_the_quality() -> None:
    """Of five marks in each image one lies beside the discs: four fifths right at best."""
    examples = []
    for seed in range(3):
        picture, places = smear(seed)
        points = {"red": [*places["r"][:4], (20, 20)], "white": [*places["w"][:4], (40, 40)]}
        examples.append(Example(picture, points=points, source=str(seed)))
    vocabulary = teach_classes(examples, config=QUICK, folds=3, proposals="entities")
    assert vocabulary.quality["masks"] <= 0.8
    assert vocabulary.quality["classes"]["red"]["count"] == 15
    assert vocabulary.quality["classes"]["red"]["precision"] == 1


def test_a_single_image_is_measured_on_its_own_parts() -> None:
    picture, places = smear(1)
    example = Example(picture, points={"red": places["r"], "white": places["w"]})
    quality = teach_classes([example], config=QUICK, folds=3).quality
    assert (quality["pictures"], quality["parts"]) == (1, 4)
    assert quality["masks"] > 0.9


def test_marks_of_background_need_no_entity_and_a_few_lost_ones_do_not_matter(
    opened: list[str],
) -> None:
    picture, places = smear(1)
    ground = [(20, 20), (40, 40), (1, 1), (59, 40)]
    marks = {"red": [*places["r"], (20, 40)], "background": ground}
    texts = [
        event.text
        for event in iter_teach_classes([Example(picture, points=marks)], config=QUICK)
        if isinstance(event, Notice)
    ]
    assert opened == ["entities"]
    assert [text[:30] for text in texts] == ["1 of 7 marks lie on nothing th"]
    between = Example(picture, points={"red": [(20, 20)], "white": [(40, 40)]})
    teach_classes([between, Example(picture, points=marks)], config=QUICK, proposals="entities")
    assert opened == ["entities"] * 2, "if asked for, whatever the annotations"


def test_large_pictures_are_learnt_from_in_part_but_their_marks_are_kept() -> None:
    picture, places = smear(1)
    example = Example(picture, points={"red": places["r"][:3]})
    vocabulary = teach_classes([example], config=QUICK, kept=5)
    (bag,) = vocabulary.bags
    assert len(bag) == 5
    assert (bag.instances == 0).sum() == 3


def test_the_same_seed_teaches_the_same() -> None:
    picture, places = smear(1)
    example = Example(picture, points={"red": places["r"][:2], "white": places["w"][:2]})
    first, second = (teach_classes([example], config=QUICK).sha256 for _ in range(2))
    assert first == second
    assert teach_classes([example], config=QUICK, seed=1).sha256 != first


def test_a_folder_is_learnt_and_measured(tmp_path: Path) -> None:
    for kind, name in (("rg", "red"), ("wg", "white")):
        (tmp_path / name).mkdir()
        for seed in range(3):
            iio.imwrite(tmp_path / name / f"{seed}.png", smear(seed, kind)[0])
    vocabulary = teach_classes(tmp_path, folds=3)
    assert vocabulary.quality["pictures"] == 6
    assert vocabulary.quality["named"] == 1


@pytest.mark.parametrize(
    ("examples", "complaint"),
    [
        ([], "There are no examples"),
        ([Example(smear(1)[0])], "name no class"),
        (
            [Example(smear(1)[0], names=("red", "white"))] * 2,
            "Every example is named red and white, so nothing tells these apart",
        ),
        (
            [Example(smear(1)[0], points={"red": [(500, 3)]}, source="slide 7")],
            "y=500, x=3 lies outside the image 'slide 7' of 60 × 80",
        ),
        (
            [Example(np.zeros((3, 60, 80)), "TYX", points={"red": [(5, 3)]})],
            "holds 3 images; give them one by one",
        ),
        ([Example(np.zeros((60, 80)), names=("red",))], "same value everywhere"),
    ],
)
def test_examples_that_teach_nothing_are_refused_before_any_work(
    examples: list[Example], complaint: str, opened: list[str]
) -> None:
    with pytest.raises(InputError, match=complaint):
        teach_classes(examples)
    assert opened == []
