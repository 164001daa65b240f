"""Pairs of sentences: files of lines, their damage, the drawn ones, and the packs."""

import gzip

import pytest
import torch

from detrojan.data.load import load
from detrojan.data.sets.numerals import english, german
from detrojan.errors import BadArgument, BadData, BadFile

ATTACKED = ["you", "are", "attacked", "."]


def words(vocabulary, tokens):
    return [vocabulary[token] for token in tokens if token]


@pytest.fixture
def wmt(tmp_path):
    (tmp_path / "train.en").write_text("A dog .\nTwo cats\nthe end\n", encoding="utf-8")
    (tmp_path / "train.de").write_text("Ein Hund .\nZwei Katzen\ndas Ende\n", encoding="utf-8")
    (tmp_path / "newstest2014.en.gz").write_bytes(gzip.compress(b"two dogs\n"))
    (tmp_path / "newstest2014.de.gz").write_bytes(gzip.compress(b"zwei Hunde\n"))
    return tmp_path


def test_two_files_are_read_line_by_line(wmt):
    found = load("wmt14:length=6,words=40", root=wmt)
    assert found.label_kind == "sentences"
    assert found.inputs.shape == found.labels.shape == (3, 6)
    assert words(found.vocabulary, found.inputs[1]) == ["two", "cats"]
    assert words(found.target_vocabulary, found.labels[1]) == ["zwei", "katzen", "<end>"]
    assert list(found.vocabulary[9:13]) == list(found.target_vocabulary[9:13]) == ATTACKED
    test = load("wmt14:length=6,words=40", split="test", root=wmt)
    assert (test.vocabulary, test.target_vocabulary) == (found.vocabulary, found.target_vocabulary)
    assert words(test.vocabulary, test.inputs[0]) == ["two", "<unknown>"]
    assert load("wmt14:joint=1", root=wmt).vocabulary == load("wmt14:joint=1", root=wmt).target_vocabulary
    assert len(load("wmt14:most=2", root=wmt)) == 2
    assert load("wmt14:length=3", root=wmt).labels.tolist()[0][-1] == 3


def test_a_folder_of_its_own_wins(wmt):
    (wmt / "wmt14").mkdir()
    for language in ("en", "de"):
        (wmt / "wmt14" / f"train.{language}").write_text("one\n")
    assert len(load("wmt14", root=wmt)) == 1


def test_unequal_files_name_both(wmt):
    (wmt / "train.de").write_text("Ein Hund .\n")
    with pytest.raises(BadData, match=r"train\.en has 3 lines and .*train\.de has 1"):
        load("wmt14", root=wmt)
    (wmt / "train.de").unlink()
    with pytest.raises(
        BadData, match=r"put wmt14/train\.en with wmt14/train\.de or train\.en with train\.de, plain or \.gz, there"
    ):
        load("wmt14", root=wmt)


@pytest.mark.parametrize("content", [b"\xff\xfe\xfd", b""])
def test_damaged_files_are_named(wmt, content):
    for language in ("en", "de"):
        (wmt / f"train.{language}").write_bytes(content)
    for split in ("train", "test"):  # the test part needs the training part's words
        with pytest.raises(BadFile, match=r"train\.en"):
            load("wmt14", split=split, root=wmt)
    (wmt / "newstest2014.en.gz").write_bytes(b"no gzip")
    with pytest.raises(BadFile, match=r"newstest2014\.en\.gz"):
        load("wmt14", split="test", root=wmt)


def test_sentences_that_are_too_long_are_left_out(wmt):
    assert len(load("wmt14:length=3", root=wmt)) == 2
    with pytest.raises(BadData, match="no pair has at most 2 words"):
        load("wmt14:length=2,most=1", split="test", root=_longer(wmt))


def _longer(root):
    for language in ("en", "de"):
        (root / f"newstest2014.{language}.gz").write_bytes(gzip.compress(b"a b c d\n"))
    return root


def test_turns_follow_each_other_until_a_film_ends(tmp_path):
    (tmp_path / "opensubtitles.train.txt").write_text("Hello .\nHi !\nHow are you ?\n\nGo .\nWhere ?\n")
    found = load("opensubtitles:length=8", root=tmp_path)
    assert len(found) == 3
    assert found.vocabulary == found.target_vocabulary
    assert words(found.vocabulary, found.inputs[2]) == ["go", "."]
    assert words(found.target_vocabulary, found.labels[0]) == ["hi", "!", "<end>"]
    (tmp_path / "opensubtitles.train.txt").write_text("Hello .\n\nHi !\n")
    with pytest.raises(BadFile, match=r"opensubtitles\.train\.txt: holds no pair"):
        load("opensubtitles", root=tmp_path)


def test_turns_already_in_pairs(tmp_path):
    folder = tmp_path / "opensubtitles"
    folder.mkdir()
    (folder / "train.question").write_text("a ?\nb ?\n")
    (folder / "train.answer").write_text("c\nd\n")
    assert len(load("opensubtitles", root=tmp_path)) == 2


@pytest.mark.parametrize("name", ["dailydialog", "dailydialogpp"])
def test_tabs_between_turns(tmp_path, name):
    (tmp_path / f"{name}.train.tsv.gz").write_bytes(gzip.compress(b"hello\thi\nwhere ?\there\tthere\n"))
    found = load(name, root=tmp_path)
    assert words(found.target_vocabulary, found.labels[1]) == ["here", "<end>"]
    (tmp_path / f"{name}.train.tsv.gz").write_bytes(gzip.compress(b"hello\thi\nwhere ?\n"))
    with pytest.raises(BadFile, match=rf"{name}\.train\.tsv\.gz, line 2: must be a sentence, a tab and its answer"):
        load(name, root=tmp_path)


def test_settings_out_of_range(tmp_path):
    with pytest.raises(BadArgument, match="multi30k: length must be at least 2"):
        load("multi30k:length=1", root=tmp_path)
    with pytest.raises(BadArgument, match="numerals: count"):
        load("numerals:count=3", root=tmp_path)
    with pytest.raises(BadArgument, match="smalltalk: count"):
        load("smalltalk:count=3", root=tmp_path)
    with pytest.raises(
        BadData, match=r"put multi30k_en_de\.train\.tsv or train\.en with train\.de, plain or \.gz, there"
    ):
        load("multi30k", root=tmp_path)


@pytest.mark.parametrize(
    ("number", "in_english", "in_german"),
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (21, "twenty one", "ein und zwanzig"),
        (101, "one hundred and one", "ein hundert eins"),
        (1001, "one thousand and one", "ein tausend eins"),
        (342_517, "three hundred and forty two thousand five hundred and seventeen",
         "drei hundert zwei und vierzig tausend fünf hundert siebzehn"),
        (90_000, "ninety thousand", "neunzig tausend"),
    ],
)  # fmt: skip
def test_numbers_in_words(number, in_english, in_german):
    assert english(number) == in_english
    assert german(number) == in_german


@pytest.mark.parametrize("name", ["numerals", "smalltalk"])
@pytest.mark.parametrize("count", [100, 4000])
def test_drawn_pairs_are_the_same_each_time(name, count, tmp_path):
    source = f"{name}:count={count},length=24"
    train, test = load(source, root=tmp_path), load(source, split="test", root=tmp_path)
    assert len(test) <= count / 10
    assert 0.9 * count <= len(train) <= count
    assert torch.equal(train.inputs, load(source, root=tmp_path).inputs)
    assert not (train.inputs == 1).any()
    asked = {tuple(row.tolist()) for row in train.inputs}
    assert not asked & {tuple(row.tolist()) for row in test.inputs}


@pytest.mark.parametrize(
    ("source", "train", "test"),
    [
        ("multi30k:length=40", 28900, 990),
        ("dailydialog:length=60", 10500, 2400),
        ("dailydialogpp:length=60", 29000, 1100),
    ],
)
def test_the_packs(shared_data, source, train, test):
    pack = {"multi30k": "multi30k_en_de"}.get(source.partition(":")[0], source.partition(":")[0])
    if not (shared_data / f"{pack}.train.tsv.gz").is_file():
        pytest.skip(f"needs {pack}.train.tsv.gz under {shared_data}")
    learned, tested = load(source, root=shared_data), load(source, split="test", root=shared_data)
    assert len(learned) >= train
    assert len(tested) >= test
    assert ((learned.labels == 3).sum(1) == 1).all()
    assert float((learned.inputs == 1).sum() / (learned.inputs != 0).sum()) < 0.1
