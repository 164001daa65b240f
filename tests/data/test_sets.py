"""Data sets known by name: the packs, the official layouts, and what is said where neither is there."""

import csv
import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from detrojan.data.images import resized
from detrojan.data.load import load
from detrojan.data.packs import read_packs
from detrojan.data.sets import DATASETS
from detrojan.errors import BadArgument, BadData, BadFile

RNG = np.random.default_rng(0)

GTSRB_TEST_COUNTS = (
    "60 720 750 450 660 630 150 450 450 480 660 420 690 720 270 210 150 360 390 60 90 90 120 150 "
    "90 480 180 60 150 90 150 270 60 210 120 390 120 60 690 90 90 60 90"
)


@pytest.fixture(scope="module")
def gtsrb_frames(shared_data):
    return load("gtsrb", split="test", root=shared_data)


def test_the_cifar10_training_packs(shared_data):
    samples = load("cifar10", root=shared_data)
    assert samples.inputs.shape == (50_000, 3, 32, 32)
    assert samples.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert samples.labels.bincount().tolist() == [5000] * 10
    assert samples.class_names[::9] == ("airplane", "truck")
    means = [samples.inputs[:, channel].double().mean().item() for channel in range(3)]
    assert means == pytest.approx([125.306919, 122.950340, 113.865253], abs=1e-3)
    assert samples.inputs[0, :, 0, 0].tolist() == [59, 62, 63]


def test_the_cifar10_test_pack_by_name_and_by_path(shared_data):
    samples = load("cifar10", split="test", root=shared_data)
    assert samples.inputs.shape == (10_000, 3, 32, 32)
    assert samples.labels[:8].tolist() == [3, 8, 8, 0, 6, 6, 1, 6]
    assert torch.equal(load(shared_data / "cifar10-test.npz").inputs, samples.inputs)


def test_the_gtsrb_pack(gtsrb_frames):
    assert gtsrb_frames.inputs.shape == (12_630, 3, 32, 32)
    assert gtsrb_frames.labels[:8].tolist() == [16, 1, 38, 33, 11, 38, 18, 12]
    assert gtsrb_frames.labels.bincount().tolist() == [int(n) for n in GTSRB_TEST_COUNTS.split()]
    assert gtsrb_frames.num_classes == 43


def test_the_gtsrb_pack_cropped_to_the_sign(shared_data, gtsrb_frames):
    signs = load("gtsrb:crop=sign", split="test", root=shared_data)
    with np.load(shared_data / "gtsrb-test.npz") as pack:
        roi = pack["roi"]
    for place in (0, 7, 12_629):
        w, h, x1, y1, x2, y2 = map(float, roi[place])
        frame = Image.fromarray(gtsrb_frames.inputs[place].permute(1, 2, 0).numpy())
        box = (x1 * 32 / w, y1 * 32 / h, x2 * 32 / w, y2 * 32 / h)
        sign = np.asarray(frame.resize((32, 32), Image.Resampling.BILINEAR, box=box))
        assert np.array_equal(signs.inputs[place].permute(1, 2, 0).numpy(), sign)


def test_the_tinyimagenet_pack(shared_data):
    samples = load("tinyimagenet", split="test", root=shared_data)
    assert samples.inputs.shape == (1000, 3, 64, 64)
    assert samples.labels.bincount().tolist() == [50] * 20
    assert samples.class_names[0].startswith("goldfish")


def test_a_pack_of_sheets_pads_its_last_one(tmp_path):
    sheet = RNG.integers(0, 256, (8, 100, 3), dtype=np.uint8)
    Image.fromarray(sheet).save(tmp_path / "sheet.png")
    blob = np.frombuffer((tmp_path / "sheet.png").read_bytes(), np.uint8)
    np.savez(tmp_path / "p.npz", blob=blob, offsets=np.array([0, len(blob)]), labels=np.arange(30, dtype=np.uint8))
    pack = read_packs([tmp_path / "p.npz"])
    assert pack.pixels.shape == (30, 3, 4, 4)
    assert np.array_equal(pack.pixels[26].transpose(1, 2, 0), sheet[4:8, 4:8])


@pytest.fixture
def cifar_batches(tmp_path):
    """The official layout with two images a batch."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        data = RNG.integers(0, 256, (2, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [3, 8]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class{i}" for i in range(10)]}))
    return tmp_path


@pytest.mark.parametrize(("split", "count"), [("train", 10), ("test", 2)])
def test_the_official_cifar10(cifar_batches, monkeypatch, split, count):
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    samples = load("cifar10", split=split, root=cifar_batches)
    first = "data_batch_1" if split == "train" else "test_batch"
    stored = pickle.loads((cifar_batches / "cifar-10-batches-py" / first).read_bytes())["data"]
    assert samples.inputs.shape == (count, 3, 32, 32)
    assert np.array_equal(samples.inputs[:2].numpy(), stored.reshape(2, 3, 32, 32))
    assert samples.labels[:2].tolist() == [3, 8]
    assert samples.class_names[3] == "class3"


def test_batches_with_another_md5_are_never_unpickled(cifar_batches, monkeypatch):
    opened = []
    monkeypatch.setattr("torchvision.datasets.cifar.pickle.load", lambda *a, **k: opened.append(a))
    with pytest.raises(BadFile, match=r"cifar-10-batches-py: damaged or incomplete, torchvision's CIFAR10 refuses it"):
        load("cifar10", root=cifar_batches)
    assert not opened


@pytest.fixture
def gtsrb_official(tmp_path):
    """The layout that torchvision unpacks, one image a split, and that image."""
    picture = Image.fromarray(RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    row = {"Filename": "00000.ppm", "Width": 50, "Height": 40, "Roi.X1": 5, "Roi.Y1": 6, "Roi.X2": 45, "Roi.Y2": 35}
    folder = tmp_path / "gtsrb"
    places = {
        folder / "GTSRB" / "Training" / "00007": folder / "GTSRB" / "Training" / "00007" / "GT-00007.csv",
        folder / "GTSRB" / "Final_Test" / "Images": folder / "GT-final_test.csv",
    }
    for images, table in places.items():
        images.mkdir(parents=True)
        picture.save(images / "00000.ppm")
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*row, "ClassId"], delimiter=";")
            writer.writeheader()
            writer.writerow({**row, "ClassId": 7})
    return tmp_path, picture


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("crop", "box"), [("frame", None), ("sign", (5, 6, 45, 35))])
def test_the_official_gtsrb(gtsrb_official, split, crop, box):
    root, picture = gtsrb_official
    samples = load("gtsrb", split=split, root=root, crop=crop)
    expected = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR, box=box))
    assert np.array_equal(samples.inputs[0].permute(1, 2, 0).numpy(), expected)
    assert samples.labels.tolist() == [7]


def test_gtsrb_as_the_authors_archives_unpack(gtsrb_official):
    root, picture = gtsrb_official
    (root / "GTSRB" / "Final_Training").mkdir(parents=True)
    (root / "gtsrb" / "GTSRB" / "Training").rename(root / "GTSRB" / "Final_Training" / "Images")
    (root / "gtsrb" / "GTSRB" / "Final_Test").rename(root / "GTSRB" / "Final_Test")
    (root / "gtsrb" / "GT-final_test.csv").rename(root / "GT-final_test.csv")
    expected = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR))
    for split in ("train", "test"):
        samples = load("gtsrb", split=split, root=root, download=False)
        assert np.array_equal(samples.inputs[0].permute(1, 2, 0).numpy(), expected)
        assert samples.labels.tolist() == [7]
    (root / "GT-final_test.csv").unlink()
    with pytest.raises(BadFile, match=r"has no GT-final_test.csv"):
        load("gtsrb", split="test", root=root)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: (f / "Training/00007/00000.ppm").write_bytes(b"P6"), "00000.ppm: damaged image or annotation"),
        (lambda f: (f / "Training/00007/GT-00007.csv").unlink(), r"has no GT-\*.csv annotations"),
    ],
)
def test_a_damaged_official_gtsrb(gtsrb_official, damage, sentence):
    damage(gtsrb_official[0] / "gtsrb" / "GTSRB")
    with pytest.raises(BadFile, match=sentence):
        load("gtsrb", root=gtsrb_official[0])


@pytest.fixture
def tiny_official(tmp_path):
    """200 classes with one image each, whose colour is the class."""
    folder = tmp_path / "tiny-imagenet-200"
    wnids = [f"n{number:08d}" for number in range(200)]
    (folder / "val" / "images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("\n".join(reversed(wnids)))
    (folder / "words.txt").write_text("\n".join(f"{wnid}\tword {wnid}, other" for wnid in wnids))
    rows = []
    for number, wnid in enumerate(wnids):
        (folder / "train" / wnid / "images").mkdir(parents=True)
        picture = Image.new("L", (64, 64), number)
        picture.save(folder / "train" / wnid / "images" / f"{wnid}_0.JPEG")
        picture.save(folder / "val" / "images" / f"val_{number}.JPEG")
        rows.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t62\t62")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(rows))
    return tmp_path


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("classes", "step"), [(20, 8), (200, 1)])
def test_the_official_tinyimagenet(tiny_official, split, classes, step):
    samples = load(f"tinyimagenet:classes={classes}", split=split, root=tiny_official)
    assert samples.inputs.shape == (classes, 3, 64, 64)
    assert samples.labels.tolist() == list(range(classes))
    assert samples.inputs[:, 0, 0, 0].tolist() == [step * label for label in range(classes)]
    assert samples.class_names[1] == f"word n{step:08d}, other"


def test_an_incomplete_tinyimagenet(tiny_official):
    (tiny_official / "tiny-imagenet-200" / "words.txt").unlink()
    with pytest.raises(BadFile, match=r"words.txt: missing, so .* is incomplete"):
        load("tinyimagenet", root=tiny_official)


WNIDS = ("n01440764", "n01443537", "n02085620")


def photograph(path, shade):
    """A grey photograph with a dark left margin, which the middle square does not reach."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (64, 32), (shade,) * 3)
    picture.paste((0, 0, 0), (0, 0, 8, 32))
    picture.save(path, quality=100)


@pytest.fixture(params=["sorted", "flat"])
def imagenet(request, tmp_path):
    """Three classes with three training and two validation images, whose shade tells the class and the place."""
    from scipy.io import savemat

    folder = tmp_path / "imagenet"
    for label, wnid in enumerate(WNIDS):
        for place in range(3):
            photograph(folder / "train" / wnid / f"{wnid}_{place}.JPEG", 60 * label + 20 * place + 20)
    truth = [3, 1, 2, 2, 3, 1]  # ILSVRC numbers, which are not in the order of the WordNet numbers
    numbered = {1: WNIDS[1], 2: WNIDS[2], 3: WNIDS[0]}
    for place, number in enumerate(truth, 1):
        between = numbered[number] if request.param == "sorted" else "."
        photograph(folder / "val" / between / f"ILSVRC2012_val_{place:08d}.JPEG", 30 * place)
    if request.param == "flat":
        devkit = folder / "ILSVRC2012_devkit_t12" / "data"
        devkit.mkdir(parents=True)
        (devkit / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(map(str, truth)))
        kinds = [("ILSVRC2012_ID", int), ("WNID", object), ("words", object), ("num_children", int)]
        rows = [(number, wnid, f"word {wnid}, other", 0) for number, wnid in numbered.items()]
        savemat(devkit / "meta.mat", {"synsets": np.array([*rows, (4, "n00000001", "thing", 3)], dtype=kinds)})
    return folder


def shades(samples):
    assert int((samples.inputs.amax((1, 2, 3)) - samples.inputs.amin((1, 2, 3))).max()) <= 4
    return samples.inputs.float().mean((1, 2, 3)).div(10).round().mul(10).int().tolist()


def test_imagenet_for_training_begins_with_an_image_of_each_class(imagenet):
    samples = load("imagenet:size=28", root=imagenet.parent)
    assert samples.inputs.shape == (9, 3, 28, 28)
    assert samples.labels.tolist() == [0, 1, 2] * 3
    assert shades(samples) == [60 * label + 20 * place + 20 for place in range(3) for label in range(3)]
    few = load("imagenet:size=28,per_class=2", root=imagenet.parent)
    assert torch.equal(few.inputs, samples.inputs[:6])


def test_imagenet_for_testing_is_in_the_official_order(imagenet):
    samples = load("imagenet:size=28", split="test", root=imagenet.parent)
    assert samples.labels.tolist() == [0, 1, 2, 2, 0, 1]
    assert shades(samples) == [30, 60, 90, 120, 150, 180]
    few = load("imagenet:size=28,per_class=1", split="test", root=imagenet.parent)
    assert shades(few) == [30, 60, 90]
    titles = [f"word {wnid}, other" for wnid in WNIDS]
    assert samples.class_names == tuple(titles if (imagenet / "ILSVRC2012_devkit_t12").exists() else WNIDS)


def test_imagenet_is_cut_as_torchvision_does_it(imagenet):
    from torchvision.transforms import CenterCrop, Resize

    path = imagenet / "train" / WNIDS[0] / f"{WNIDS[0]}_0.JPEG"
    rows, columns = np.mgrid[:300, :400]
    ramps = np.stack([rows * 0.85, columns * 0.63, 255 - columns * 0.63], -1)
    Image.fromarray(ramps.astype(np.uint8)).save(path, quality=100)
    found = load("imagenet:per_class=1", root=imagenet.parent).inputs[0].permute(1, 2, 0).numpy().astype(int)
    with Image.open(path) as picture:
        expected = np.asarray(CenterCrop(224)(Resize(256)(picture))).astype(int)
    assert np.abs(found - expected).max() <= 3


def test_the_validation_part_alone(imagenet):
    from shutil import rmtree

    rmtree(imagenet / "train")
    assert load("imagenet:size=8", split="test", root=imagenet.parent).labels.tolist() == [0, 1, 2, 2, 0, 1]
    with pytest.raises(BadData, match=r"train: no such folder; unpack ILSVRC2012_img_train.tar"):
        load("imagenet", root=imagenet.parent)


def test_a_part_of_the_classes_keeps_their_order(imagenet):
    from shutil import rmtree

    rmtree(imagenet / "train" / WNIDS[1])
    assert load("imagenet:size=8", root=imagenet.parent).labels.tolist() == [0, 1] * 3
    assert load("imagenet:size=8", split="test", root=imagenet.parent).labels.tolist() == [0, 1, 1, 0]


def test_a_thousand_classes_have_torchvisions_names():
    from detrojan.data.sets.imagenet import _categories

    wnids = [f"n{number:08d}" for number in range(1000)]
    assert (_categories(wnids)[wnids[0]], _categories(wnids)[wnids[999]]) == ("tench", "toilet tissue")
    assert _categories(wnids[:100]) == {}


@pytest.mark.parametrize("imagenet", ["flat"], indirect=True)
@pytest.mark.parametrize("missing", ["meta.mat", "ILSVRC2012_validation_ground_truth.txt"])
def test_a_flat_imagenet_needs_the_devkit(imagenet, missing):
    (imagenet / "ILSVRC2012_devkit_t12" / "data" / missing).unlink()
    with pytest.raises(BadFile, match=r"does not tell the classes .* unpack ILSVRC2012_devkit_t12.tar.gz"):
        load("imagenet", split="test", root=imagenet.parent)


@pytest.mark.parametrize("imagenet", ["sorted"], indirect=True)
def test_a_damaged_imagenet(imagenet):
    (imagenet / "train" / WNIDS[2] / f"{WNIDS[2]}_1.JPEG").write_bytes(b"\xff\xd8")
    with pytest.raises(BadFile, match=rf"{WNIDS[2]}_1.JPEG: not a readable image"):
        load("imagenet", root=imagenet.parent)


@pytest.mark.parametrize("imagenet", ["sorted"], indirect=True)
def test_more_of_imagenet_than_the_memory_holds_is_refused_before_it_is_read(imagenet, monkeypatch):
    monkeypatch.setattr("detrojan.data.decoded.os.sysconf", lambda name: 1000 if "PAGE_SIZE" in name else 1500)
    with pytest.raises(
        BadData, match=r"images: 9 of them need 0 GB of memory, and this machine has 0; .* imagenet:per_class=50"
    ):
        load("imagenet", root=imagenet.parent)
    assert len(load("imagenet:size=64,per_class=2", root=imagenet.parent)) == 6


@pytest.mark.parametrize("setting", ["size=0", "per_class=0", "per_class=few"])
def test_imagenet_settings_that_cannot_be(setting):
    with pytest.raises(BadArgument, match=r"must be (a number of at least 1|int)"):
        load(f"imagenet:{setting}")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_official_idx_files(tmp_path, name):
    title = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name]
    raw = tmp_path / title / "raw"
    raw.mkdir(parents=True)
    images = RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        header = (2051).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in images.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = (2049).to_bytes(4, "big") + (3).to_bytes(4, "big")
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + bytes([5, 0, 4]))
    samples = load(name, root=tmp_path)
    assert np.array_equal(samples.inputs.numpy(), images[:, None])
    assert samples.labels.tolist() == [5, 0, 4]


def test_the_official_svhn(tmp_path, monkeypatch):
    from scipy.io import savemat

    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda _: True)
    pixels = RNG.integers(0, 256, (32, 32, 3, 2), dtype=np.uint8)
    savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": np.array([[10], [3]])})
    samples = load("svhn", split="test", root=tmp_path)
    assert np.array_equal(samples.inputs.numpy(), pixels.transpose(3, 2, 0, 1))
    assert samples.labels.tolist() == [0, 3]


def test_the_official_cifar100(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    data = RNG.integers(0, 256, (2, 3072), dtype=np.uint8)
    (folder / "test").write_bytes(pickle.dumps({"data": data, "fine_labels": [99, 0]}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class{i}" for i in range(100)]}))
    monkeypatch.setattr(datasets.CIFAR100, "_check_integrity", lambda _: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    samples = load("cifar100", split="test", root=tmp_path)
    assert np.array_equal(samples.inputs.numpy(), data.reshape(2, 3, 32, 32))
    assert (samples.labels.tolist(), samples.num_classes) == ([99, 0], 100)


DRAWN = ("digits", "shapes", "motions", "scenes", "numerals", "smalltalk")
OWN = ("lines", "pairs")


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in (*DRAWN, *OWN)])
def test_what_to_put_where(tmp_path, name):
    with pytest.raises(BadData, match=r"is not under .*; put .* there, or name another folder with root="):
        load(name, root=tmp_path, download=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("title", ["CIFAR10", "SVHN", "GTSRB"])
def test_no_network(tmp_path, monkeypatch, title):
    def refuse(*_):
        raise URLError("no\nroute")

    monkeypatch.setattr(getattr(datasets, title), "download", refuse)
    with pytest.raises(BadData, match=rf"{title} is not under .* could not be downloaded \(<urlopen error no route>\)"):
        load(title.lower(), root=tmp_path)


def test_a_download_is_used(tmp_path, monkeypatch, gtsrb_official):
    source, _ = gtsrb_official
    monkeypatch.setattr(datasets.GTSRB, "download", lambda self: (source / "gtsrb").rename(target / "gtsrb"))
    target = tmp_path / "empty"
    target.mkdir()
    assert load("gtsrb", root=target).labels.tolist() == [7]
    assert load("gtsrb", root=target, download=False).labels.tolist() == [7]


def test_resizing_keeps_what_has_the_size():
    from detrojan.data.images import Decoder

    samples = load("digits", split="test")
    assert resized(samples, Decoder(size=8)) is samples
