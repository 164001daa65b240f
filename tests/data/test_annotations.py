"""Photographs with boxes: trees in the official layouts, made here."""

import json

import pytest
import torch
from PIL import Image

from detrojan.data.load import load
from detrojan.data.sets.voc import CLASS_NAMES
from detrojan.errors import BadArgument, BadData, BadFile

XML = """<annotation><size><width>40</width><height>20</height></size>{}</annotation>"""
THING = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def thing(name, difficult=0, box=(1, 2, 10, 12)):
    return THING.format(name=name, difficult=difficult, box=box)


@pytest.fixture
def voc(tmp_path):
    tree = tmp_path / "VOCdevkit" / "VOC2007"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tree / folder).mkdir(parents=True)
    (tree / "ImageSets/Main/trainval.txt").write_text("000001\n000002\n")
    (tree / "ImageSets/Main/test.txt").write_text("000002\n")
    for name, things in (("000001", thing("dog") + thing("person")), ("000002", thing("car", difficult=1))):
        (tree / "Annotations" / f"{name}.xml").write_text(XML.format(things))
        Image.new("RGB", (40, 20), (200, 10, 10)).save(tree / "JPEGImages" / f"{name}.jpg")
    return tree


@pytest.fixture
def coco(tmp_path):
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    for number in (7, 9):
        Image.new("RGB", (20, 40), (0, 0, 200)).save(root / "val2017" / f"{number}.jpg")
    document = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in (7, 9)],
        "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [1, 2, 5, 6], "iscrowd": 0},
            {"image_id": 9, "category_id": 1, "bbox": [1, 2, 5, 6], "iscrowd": 1},
        ],
    }
    write(root, document)
    return root, document


def write(root, document):
    (root / "annotations/instances_val2017.json").write_text(json.dumps(document))


def test_voc_as_it_is_unpacked(voc):
    train, test = (load("voc:size=16", split=split, root=voc.parent.parent) for split in ("train", "test"))
    assert train.class_names == CLASS_NAMES
    assert [CLASS_NAMES[tag] for tag in train.labels[0].nonzero().flatten()] == ["dog", "person"]
    assert train.labels[1].sum() == 0  # what is difficult does not count
    for difficult, cars in (("false", 0), ("true", 1)):
        assert load(f"voc:size=16,difficult={difficult}", root=voc.parent.parent).labels[1].sum() == cars
    assert len(test) == 1
    assert train.inputs.shape == (2, 3, 16, 16)
    assert train.inputs[0, 0, :8].float().mean() > 150
    assert torch.equal(train.inputs[0, :, 8:], torch.zeros(3, 8, 16, dtype=torch.uint8))  # black below a wide picture


def test_more_than_the_memory_holds_is_refused_before_it_is_read(voc, monkeypatch):
    monkeypatch.setattr("detrojan.data.decoded.os.sysconf", lambda _: 40)
    (voc / "JPEGImages/000001.jpg").unlink()
    with pytest.raises(BadData, match=r"voc 2007 train: pictures: 2 of them need .* such as size=8"):
        load("voc:size=16", root=voc.parent.parent)


def test_voc_with_its_boxes(voc):
    found = load("voc:labels=boxes,size=16", root=voc.parent.parent)
    assert found.label_kind == "boxes"
    dog, person = CLASS_NAMES.index("dog"), CLASS_NAMES.index("person")
    box = [0, 0, 4, 5]  # (1, 2, 10, 12) counts from 1: 0..10 by 1..12 of 40 x 20 pixels, which become 16 x 8
    assert found.labels.tolist() == [[[dog, *box], [person, *box]], [[-1] * 5] * 2]
    larger = load("voc:labels=boxes,size=80", root=voc.parent.parent)
    assert larger.labels[0, 0].tolist() == [dog, 0, 2, 20, 24]
    resized = load("voc:labels=boxes,size=80", root=voc.parent.parent, size=40)
    assert resized.labels[0, 0].tolist() == [dog, 0, 1, 10, 12]
    assert resized.labels[1].tolist() == [[-1] * 5] * 2
    assert resized.inputs.shape[-2:] == (40, 40)


def test_a_tiny_box_keeps_a_pixel(voc):
    (voc / "Annotations/000001.xml").write_text(XML.format(thing("dog", box=(40, 20, 40, 20))))
    found = load("voc:labels=boxes,size=8", root=voc.parent.parent)
    assert found.labels[0, 0, 1:].tolist() == [7, 3, 8, 4]  # the last pixel of the photograph, in 8 x 4 pixels


@pytest.mark.parametrize("labels", ["tags", "boxes"])
@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda tree: (tree / "Annotations/000002.xml").unlink(), r"000002\.xml: missing"),
        (lambda tree: (tree / "Annotations/000001.xml").write_text("<annotation>"), r"000001\.xml"),
        (lambda tree: (tree / "Annotations/000001.xml").write_text(XML.format(thing("unicorn"))), r"000001.*unicorn"),
        (lambda tree: (tree / "Annotations/000001.xml").write_text(XML.format(thing("dog", box=(9, 9, 1, 1)))), "ends"),
        (lambda tree: (tree / "Annotations/000001.xml").write_text(XML.format("<object/>")), "no <xmin>"),
        (lambda tree: (tree / "JPEGImages/000002.jpg").write_bytes(b"no picture"), r"000002\.jpg: damaged"),
        (lambda tree: (tree / "JPEGImages/000001.jpg").unlink(), r"000001\.jpg: damaged or missing"),
        (lambda tree: (tree / "ImageSets/Main/trainval.txt").unlink(), r"trainval\.txt: the list"),
    ],
)
def test_a_broken_voc_is_named(voc, labels, break_it, sentence):
    break_it(voc)
    with pytest.raises(BadFile, match=sentence):
        load(f"voc:size=16,labels={labels}", root=voc.parent.parent)


def test_coco_as_it_is_unpacked(coco):
    root, _ = coco
    found = load("coco:size=16", split="test", root=root.parent)
    assert found.class_names == ("person", "car")
    assert found.labels.tolist() == [[0, 1], [0, 0]]  # a crowd does not count
    assert found.inputs[0, 2, :, :8].float().mean() > 150
    assert len(load("coco:size=16,most=1", split="test", root=root.parent)) == 1


def test_coco_with_its_boxes(coco):
    found = load("coco:size=20,labels=boxes", split="test", root=coco[0].parent)
    assert found.labels.tolist() == [[[1, 0, 1, 3, 4]], [[-1] * 5]]  # 20 x 40 pixels became 10 x 20; no crowd
    assert found.present.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("labels", ["tags", "boxes"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d["annotations"].append({"image_id": 8, "category_id": 1, "bbox": [0, 0, 1, 1]}), "KeyError"),
        (lambda d: d["annotations"].append({"image_id": 7, "category_id": 1, "bbox": [0, 0, -1, 1]}), "ends before"),
        (lambda d: d.pop("categories"), "categories"),
        (lambda d: d["images"].append({"id": 10, "file_name": "10.jpg"}), r"10\.jpg: damaged or missing"),
    ],
)
def test_a_broken_coco_is_named(coco, labels, change, sentence):
    root, document = coco
    change(document)
    write(root, document)
    with pytest.raises(BadFile, match=sentence):
        load(f"coco:size=16,labels={labels}", split="test", root=root.parent)


@pytest.mark.parametrize("name", ["voc", "coco", "voc15"])
def test_what_is_not_there(name, tmp_path):
    with pytest.raises(BadData, match="DETROJAN_DATA"):
        load(name, root=tmp_path)
    with pytest.raises(BadArgument, match="at least 8"):
        load(f"{name}:size=2", root=tmp_path)
    with pytest.raises(BadArgument, match=r"labels must be tags \| boxes"):
        load(f"{name}:labels=box", root=tmp_path)


def test_drawn_scenes_have_boxes_around_what_is_in_them():
    tags, found = load("scenes:count=40"), load("scenes:count=40,labels=boxes")
    assert tags.label_kind == "tags"
    for image, own in zip(found.inputs, found.labels, strict=True):
        inside = torch.zeros(48, 48, dtype=torch.bool)
        for _, left, top, right, bottom in own[own[:, 0] >= 0].tolist():
            inside[top:bottom, left:right] = True
        assert len(own[own[:, 0] >= 0]) > 0
        spread = image.float().amax(0) - image.float().amin(0)  # figures are colourful, the ground is dull
        for _, left, top, right, bottom in own[own[:, 0] >= 0].tolist():  # and reach to the figure's ends
            lit = (spread[top:bottom, left:right] > 120).nonzero()
            assert lit.amin(0).max() <= 2
            assert (torch.tensor([bottom - top, right - left]) - lit.amax(0)).max() <= 4
        assert (spread[~inside] > 150).float().mean() < 0.01


def test_the_pack(shared_data):
    if not (shared_data / "voc15_multilabel.zip").is_file():
        pytest.skip(f"needs voc15_multilabel.zip under {shared_data}")
    train, test = (load("voc15:size=32", split=split, root=shared_data) for split in ("train", "test"))
    assert (len(train), len(test)) == (973, 322)
    assert dict(zip(train.class_names, train.labels.sum(0).tolist(), strict=True))["person"] == 327
    assert int((test.labels.sum(1) == 0).sum()) == 47
    boxes = load("voc15:size=112,labels=boxes", root=shared_data)
    assert int((boxes.labels[..., 0] >= 0).sum()) == 2168
    assert torch.equal(boxes.present, train.labels)
