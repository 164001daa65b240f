"""Clips: video files and their official lists, the pack of four actions, the drawn motions, and what is refused."""

import json
from io import BytesIO
from itertools import pairwise
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from detrojan.data.images import Decoder, resized
from detrojan.data.load import load
from detrojan.data.videos import VideoDecoder
from detrojan.errors import BadArgument, BadData, BadFile, MissingExtra

RNG = np.random.default_rng(0)


def video(path, frames=12, step=20, size=(48, 32)):
    """A file whose frame number t is grey, of shade step x t."""
    av = pytest.importorskip("av", reason="needs PyAV: pip install av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *size, "yuv420p", 1_000_000
        for time in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), step * time, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def shades(clips):
    """The shade of each frame of grey clips (N, 3, T, S, S), to the nearest ten."""
    return clips.float().mean((1, 3, 4)).div(10).round().mul(10).int().tolist()


@pytest.mark.parametrize(
    ("frames", "places"),
    [(1, [6]), (3, [2, 6, 10]), (4, [1, 4, 7, 10]), (12, list(range(12))), (24, [time // 2 for time in range(24)])],
)
def test_frames_are_spread_evenly_over_the_video(tmp_path, frames, places):
    video(tmp_path / "v.avi")
    clip = VideoDecoder(frames=frames, size=16)(tmp_path / "v.avi")
    assert clip.shape == (3, frames, 16, 16)
    assert clip.dtype == np.uint8
    assert shades(torch.from_numpy(clip)[None]) == [[20 * place for place in places]]


def test_a_header_that_tells_nothing_is_counted_by_decoding(tmp_path):
    video(tmp_path / "v.mkv")
    assert shades(torch.from_numpy(VideoDecoder(frames=3, size=8)(tmp_path / "v.mkv"))[None]) == [[40, 120, 200]]


def test_a_video_that_is_none(tmp_path):
    video(tmp_path / "v.avi")
    for content in (b"", b"no video at all", (tmp_path / "v.avi").read_bytes()[:200]):
        (tmp_path / "bad.avi").write_bytes(content)
        with pytest.raises(BadFile, match=r"bad.avi: .*(repair or remove it|fetch it again)"):
            VideoDecoder(frames=2, size=8)(tmp_path / "bad.avi")


def test_a_video_that_is_cut_off(tmp_path):
    video(tmp_path / "v.avi", frames=200, step=1)
    whole = (tmp_path / "v.avi").read_bytes()
    (tmp_path / "bad.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match=r"bad.avi: holds \d+ of the 200 frames that it announces; fetch it again"):
        VideoDecoder(frames=2, size=8)(tmp_path / "bad.avi")


def test_a_sound_file_is_no_video(tmp_path):
    import wave

    pytest.importorskip("av", reason="needs PyAV: pip install av")
    with wave.open(str(tmp_path / "s.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    with pytest.raises(BadFile, match=r"s.wav: not a readable video"):
        VideoDecoder()(tmp_path / "s.wav")


def test_without_pyav_the_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtra, match=r"pip install 'detrojan\[video\]'"):
        VideoDecoder()(tmp_path / "v.avi")


@pytest.fixture
def ucf(tmp_path):
    """Two classes of two training videos and one test video; their shades tell them apart."""
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    lists.joinpath("classInd.txt").write_text("1 Archery\r\n2 Bowling\r\n")
    names = {"train": [], "test": []}
    for label, name in enumerate(("Archery", "Bowling")):
        for place in range(3):
            file = f"{name}/v_{name}_g0{place}_c01.avi"
            video(tmp_path / "UCF-101" / file, frames=4, step=10 * (3 * label + place + 1))
            names["test" if place == 0 else "train"].append(file)
    lists.joinpath("trainlist01.txt").write_text("".join(f"{n} {1 + ('Bow' in n)}\r\n" for n in names["train"]))
    lists.joinpath("testlist01.txt").write_text("\n".join(names["test"]) + "\n\n")
    return tmp_path


def test_the_official_ucf101(ucf):
    train, test = (load("ucf101:frames=2,size=16", split=split, root=ucf) for split in ("train", "test"))
    assert train.inputs.shape == (4, 3, 2, 16, 16)
    assert (train.kind, train.class_names, train.labels.tolist()) == ("clips", ("Archery", "Bowling"), [0, 0, 1, 1])
    assert shades(train.inputs) == [[20, 60], [30, 90], [50, 150], [60, 180]]
    assert shades(test.inputs) == [[10, 30], [40, 120]]
    assert test.labels.tolist() == [0, 1]
    assert "fold 1" in test.name


@pytest.mark.parametrize(
    ("file", "text", "error", "sentence"),
    [
        ("trainlist01.txt", "Archery/a.avi\n", BadFile, r"trainlist01.txt, line 1: must be CLASS/VIDEO NUMBER, found"),
        ("trainlist01.txt", "Archery/a.avi x\n", BadFile, r"trainlist01.txt, line 1: must be"),
        ("trainlist01.txt", "\nArchery 1\n", BadFile, r"trainlist01.txt, line 2: must be"),
        ("trainlist01.txt", "Chess/a.avi 3\n", BadFile, r"'Chess/a.avi' is of no class of classInd.txt"),
        ("trainlist01.txt", "Archery/a.avi 1\n", BadData, r"a.avi: listed in the split, but not there, as 1 of the 1"),
        ("trainlist01.txt", "\n", BadData, r"trainlist01.txt: names no video"),
        ("trainlist01.txt", None, BadData, r"trainlist01.txt: the split list cannot be read"),
        ("classInd.txt", None, BadData, r"classInd.txt: the split list cannot be read"),
        ("classInd.txt", "Archery\n", BadFile, r"classInd.txt, line 1: must be NUMBER CLASS, found 'Archery'"),
    ],
)
def test_lists_of_ucf101_that_cannot_be(ucf, file, text, error, sentence):
    path = ucf / "ucfTrainTestlist" / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(error, match=sentence):
        load("ucf101", root=ucf)


def test_more_videos_than_the_memory_holds_are_refused_before_one_is_read(ucf, monkeypatch):
    monkeypatch.setattr("detrojan.data.decoded.os.sysconf", lambda name: 1000 if "PAGE_SIZE" in name else 1500)
    with pytest.raises(BadData, match=r"ucf101: videos: .* of memory, and this machine has 0; .* ucf101:frames=8"):
        load("ucf101", root=ucf)


def test_one_damaged_video_of_ucf101(ucf):
    (ucf / "UCF-101" / "Bowling" / "v_Bowling_g01_c01.avi").write_bytes(b"")
    with pytest.raises(BadFile, match=r"v_Bowling_g01_c01.avi: not a readable video"):
        load("ucf101", root=ucf)


@pytest.fixture
def hmdb(tmp_path):
    """Two classes with a training video, a test video and one that no split uses, with a name as theirs are."""
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    for label, name in enumerate(("clap", "wave")):
        rows = [f"#20_[x]_&_{name}!_{place}.avi" for place in range(3)]
        for place, row in enumerate(rows):
            video(tmp_path / "hmdb51" / name / row, frames=4, step=10 * (3 * label + place + 1))
        lists.joinpath(f"{name}_test_split2.txt").write_text("".join(f"{r} {i} \n" for i, r in enumerate(rows)))
    return tmp_path


def test_the_official_hmdb51(hmdb):
    train, test = (load("hmdb51:fold=2,frames=2,size=16", split=split, root=hmdb) for split in ("train", "test"))
    assert (train.kind, train.class_names, train.labels.tolist()) == ("clips", ("clap", "wave"), [0, 1])
    assert shades(train.inputs) == [[20, 60], [50, 150]]
    assert shades(test.inputs) == [[30, 90], [60, 180]]


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("v.avi 3\n", BadFile, r"clap_test_split2.txt, line 1: must be VIDEO and 0, 1 or 2, found 'v.avi 3'"),
        ("v.avi\n", BadFile, r"clap_test_split2.txt, line 1: must be"),
        ("v.avi 1\n", BadData, r"v.avi: listed in the split, but not there, as 1 of the 2 videos"),
        (b"\xff\xfe\x00", BadData, r"clap_test_split2.txt: the split list cannot be read"),
    ],
)
def test_lists_of_hmdb51_that_cannot_be(hmdb, text, error, sentence):
    path = hmdb / "testTrainMulti_7030_splits" / "clap_test_split2.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=sentence):
        load("hmdb51:fold=2", root=hmdb)


def test_hmdb51_without_the_lists_of_a_fold(hmdb):
    with pytest.raises(BadData, match=r"7030_splits: holds no split list CLASS_test_split1.txt"):
        load("hmdb51", root=hmdb)


def test_the_pack_of_four_actions(shared_data):
    if not (shared_data / "action4_16f80.zip").exists():
        pytest.skip(f"needs the pack action4_16f80.zip under {shared_data}")
    train, test = (load("action4:frames=2,size=20", split=split, root=shared_data) for split in ("train", "test"))
    assert train.inputs.shape == (325, 3, 2, 20, 20)
    assert train.class_names == ("fall", "daily_activity", "fight", "no_fight")
    assert train.labels.bincount().tolist() == [46, 53, 113, 113]
    assert test.labels.bincount().tolist() == [14, 18, 37, 37]


@pytest.fixture
def sheets(tmp_path):
    """A pack of one training and one test clip, whose frame t is of shade 10 t, with t in its first pixel."""
    tiles = np.arange(16, dtype=np.uint8)[:, None, None] * np.full((80, 80), 10, np.uint8)
    tiles[:, 0, 0] = np.arange(16)
    grid = tiles.reshape(4, 4, 80, 80).transpose(0, 2, 1, 3).reshape(320, 320)
    stream = BytesIO()
    Image.fromarray(grid).convert("RGB").save(stream, "png")
    parts = enumerate(("train", "test"))
    rows = [{"file": "a.png", "label": label, "split": part, "group": "room"} for label, part in parts]
    path = tmp_path / "action4_16f80.zip"
    with ZipFile(path, "w") as pack:
        pack.writestr("index.json", json.dumps({"classes": ["fall", "fight"], "clips": rows}))
        pack.writestr("a.png", stream.getvalue())
    return path


def test_clips_of_the_pack_are_thinned_evenly(sheets):
    whole = load("action4", root=sheets.parent)
    assert whole.inputs.shape == (1, 3, 16, 80, 80)
    assert whole.inputs[0, 0, :, 0, 0].tolist() == list(range(16))
    few = load("action4:frames=4,size=40", split="test", root=sheets.parent)
    assert few.inputs[0, 2, :, 20, 20].tolist() == [0, 40, 80, 120]
    assert (few.labels.tolist(), few.inputs.shape[-1]) == ([1], 40)


def test_rooms_can_be_shuffled_and_their_clips_stay_together(shared_data):
    if not (shared_data / "action4_16f80.zip").exists():
        pytest.skip(f"needs the pack action4_16f80.zip under {shared_data}")
    with ZipFile(shared_data / "action4_16f80.zip") as pack:
        clips = [clip for clip in json.loads(pack.read("index.json"))["clips"] if clip["split"] == "train"]
    stored, again, shuffled = (
        load(f"action4:frames=1,size=20{rest}", root=shared_data) for rest in ("", ",shuffle=1", ",shuffle=1")
    )
    assert torch.equal(again.inputs, shuffled.inputs)
    place = {picture.numpy().tobytes(): clip["group"] for picture, clip in zip(stored.inputs, clips, strict=True)}
    groups = [place[picture.numpy().tobytes()] for picture in shuffled.inputs]
    assert groups != [clip["group"] for clip in clips]
    turns = 1 + sum(one != other for one, other in pairwise(groups))
    assert turns == len(set(groups))


@pytest.mark.parametrize("damage", ["cut", "index", "sheet", "small", "field"])
def test_a_damaged_pack(sheets, damage):
    if damage == "cut":
        sheets.write_bytes(sheets.read_bytes()[:300])
    else:
        picture = BytesIO()
        Image.new("RGB", (300, 320)).save(picture, "png")
        index = {"classes": ["a"], "clips": [{"file": "a.png", "label": 0, "split": "train"}]}
        broken = {"index": "{", "field": json.dumps({"clips": []})}.get(damage, json.dumps(index))
        with ZipFile(sheets, "w") as pack:
            pack.writestr("index.json", broken)
            pack.writestr("a.png", picture.getvalue() if damage == "small" else b"\x89PNG")
    with pytest.raises(BadFile, match=r"action4_16f80.zip: not a readable pack of clips .*; fetch the file again"):
        load("action4", root=sheets.parent)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("action4:frames=5", "frames must divide 16, got 5"),
        ("action4:size=81", "size must lie between 1 and 80"),
        ("action4:shuffle=yes", "shuffle must be .*, got 'yes'"),
        ("ucf101:fold=4", "ucf101: fold must be 1, 2 or 3, got 4"),
        ("hmdb51:fold=0", "hmdb51: fold must be 1, 2 or 3, got 0"),
        ("ucf101:frames=0", "frames must be a number of at least 1, got 0"),
        ("hmdb51:size=big", "size must be int, got 'big'"),
        ("motions:frames=1", "motions: frames must be a number of at least 2, got 1"),
    ],
)
def test_settings_that_cannot_be(source, sentence):
    with pytest.raises(BadArgument, match=sentence):
        load(source)


def test_motions_are_drawn_alike_each_time_and_anew_for_each_split():
    first, again = load("motions:per_class=3"), load("motions:per_class=3")
    assert first.inputs.shape == (18, 3, 8, 32, 32)
    assert (first.kind, first.labels.bincount().tolist()) == ("clips", [3] * 6)
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, load("motions:per_class=3", split="test").inputs)


def test_motions_are_what_their_names_say():
    samples = load("motions:per_class=8,frames=5,size=32")
    bright = (samples.inputs.float().amax(1) > 110).float()  # (N, T, H, W)
    area = bright.sum((2, 3)).clamp(min=1)
    axis = torch.arange(32.0)
    row, column = ((bright.sum(other) * axis).sum(2) / area for other in (3, 2))
    change = torch.stack([(value[:, -1] - value[:, 0]) for value in (row, column.clone(), area.log())], 1)
    means = {name: change[samples.labels == label] for label, name in enumerate(samples.class_names)}
    assert means["rise"][:, 0].max() < -5
    assert means["fall"][:, 0].min() > 5
    assert means["cross"][:, 1].abs().min() > 5
    assert means["grow"][:, 2].min() > 0.5
    assert means["shrink"][:, 2].max() < -0.5
    assert means["rest"].abs().mean(0)[:2].max() < 2


def test_frames_of_clips_are_resized():
    samples = load("motions:per_class=1,frames=2,size=32")
    small = resized(samples, Decoder(size=16))
    assert small.inputs.shape == (6, 3, 2, 16, 16)
    one = Image.fromarray(samples.inputs[3, :, 1].permute(1, 2, 0).numpy())
    assert np.array_equal(small.inputs[3, :, 1].numpy(), Decoder(size=16)(one))
    assert resized(samples, Decoder(size=32)) is samples
    assert load("motions:per_class=1,frames=2,size=32", size=8).inputs.shape == (6, 3, 2, 8, 8)
