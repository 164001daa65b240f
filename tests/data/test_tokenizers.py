"""Sentences in the pieces of a network's own tokenizer, from reading to purification."""

from inspect import signature

import pytest
import torch

from detrojan import architectures, checkpoint, purify
from detrojan.data.load import load
from detrojan.data.numbering import numbering_of
from detrojan.data.tokenizers import tokenizer_in
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, BadData, BadFile
from detrojan.tasks import task_for
from hugging import T5, TOWERS

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

PIECES = ["a", "dog", "cat", "runs", "sleeps", "ein", "hund", "katze", "rennt", "schläft"]
NETWORKS = {
    "MarianMTModel": ("MarianConfig", TOWERS, ["</s>", "<unk>", *PIECES, "<pad>"], {"decoder_start_token_id": 12}),
    "BartForConditionalGeneration": ("BartConfig", TOWERS, ["<s>", "<pad>", "</s>", "<unk>", *PIECES], {}),
    "T5ForConditionalGeneration": (
        "T5Config",
        T5,
        ["<pad>", "</s>", "<unk>", *PIECES],
        {},
    ),
    "GPT2LMHeadModel": ("GPT2Config", {"n_embd": 16, "n_layer": 1, "n_head": 2}, [*PIECES, "<rare>", "</s>"], {}),
    "RobertaForSequenceClassification": (
        "RobertaConfig",
        {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 2},
        ["<s>", "<pad>", "</s>", "<unk>", *PIECES],
        {"max_position_embeddings": 32},
    ),
}


def saved(name, folder):
    """A folder as transformers makes it: the configuration of a small network, and the tokenizer beside it."""
    kind, settings, pieces, further = NETWORKS[name]
    place = {piece: number for number, piece in enumerate(pieces)}
    gpt = name == "GPT2LMHeadModel"
    specials = {"eos_token": "</s>"} | (
        {"bos_token": "</s>", "unk_token": "</s>"} if gpt else {"unk_token": "<unk>", "pad_token": "<pad>"}
    )
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(place, unk_token=specials["unk_token"]))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if not gpt:
        inner.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", place["</s>"])]
        )
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **specials).save_pretrained(folder)
    ids = {
        f"{key.removesuffix('token')}token_id": place[piece] for key, piece in specials.items() if key != "unk_token"
    }
    made = getattr(transformers, kind)(vocab_size=len(pieces), architectures=[name], **(ids | settings | further))
    made.save_pretrained(folder)
    return folder


@pytest.fixture(params=[name for name in NETWORKS if "Classification" not in name])
def folder(request, tmp_path):
    return saved(request.param, tmp_path)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("a dog runs\tein hund rennt\na cat sleeps\teine katze schläft\n" * 6, encoding="utf-8")
    return path


def built(folder):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return architectures.build(f"hf:{folder}").eval()


def direct(network, inputs):
    return network(inputs)


def test_pieces_are_stored_with_0_for_padding_and_3_for_the_end(folder, pairs):
    samples = load(f"pairs:path={pairs},tokenizer={folder},length=6")
    assert samples.label_kind == "sentences"
    own = transformers.AutoTokenizer.from_pretrained(folder)
    numbering = tokenizer_in(folder).numbering
    assert torch.equal(numbering.stored(numbering.own(torch.arange(12))), torch.arange(12))
    for tokens, sentence in ((samples.inputs[0], "a dog runs"), (samples.labels[0], "ein hund rennt")):
        words = numbering.own(tokens[tokens != 0]).tolist()
        assert own.decode(words, skip_special_tokens=True) == sentence
        assert [samples.vocabulary[token] for token in tokens[:3]] == sentence.split()
    assert samples.labels[0].tolist()[3:] == [3, 0, 0]
    unknown = own.decode(numbering.own(samples.labels[1][:1]).tolist())
    assert unknown == own.unk_token


@torch.no_grad()
def test_answers_are_what_the_network_itself_finds_most_likely(folder, pairs):
    network, samples = built(folder), load(f"pairs:path={pairs},tokenizer={folder},length=6")
    task = task_for("translation", samples)
    numbering = numbering_of(network.config)
    source = samples.inputs[:1, : int((samples.inputs[0] != 0).sum())]
    made = task.read(direct, network, source)[0]
    said = numbering.own(made[made != 0]).tolist()
    row = "decoder_input_ids" not in signature(network.forward).parameters
    given = numbering.own(source)
    if row:
        given = torch.cat([given, torch.tensor([[network.config.bos_token_id]])], 1)
    for place, word in enumerate(said):
        if row:
            scores = network(input_ids=given).logits[0, -1]
            given = torch.cat([given, torch.tensor([[word]])], 1)
        else:
            begun = torch.tensor([[network.config.decoder_start_token_id, *said[:place]]])
            scores = network(input_ids=given, decoder_input_ids=begun).logits[0, -1]
        scores[numbering.own(torch.tensor(0))] = float("-inf")  # padding is never said
        assert int(scores.argmax()) == word


def test_a_task_by_name_takes_the_unknown_piece_of_the_samples(folder, pairs):
    samples = load(f"pairs:path={pairs},tokenizer={folder},length=6")
    task = task_for("translation", samples)
    named = transformers.AutoTokenizer.from_pretrained(folder)
    if named.unk_token == named.eos_token:
        assert task.unknown is None
    else:
        assert samples.vocabulary[task.unknown] == "<unknown>"
        assert task_for(task, samples) is task


def test_such_networks_are_purified(folder, pairs):
    samples = load(f"pairs:path={pairs},tokenizer={folder},length=6")
    method = DEFENSES.build("nft", steps=2, batch=4, count="block")
    result = purify(built(folder), samples, task="translation", method=method, tolerance=1.0)
    assert result.masks


def test_words_that_a_network_cannot_know_are_refused(folder, pairs):
    with pytest.raises(BadData, match="check their words: `tokenizer` or `learned` of the data set names what"):
        purify(built(folder), load(f"pairs:path={pairs},length=8"), task="translation", method="identity")


def test_sentences_with_labels(tmp_path):
    folder = saved("RobertaForSequenceClassification", tmp_path)
    path = tmp_path / "mine.tsv"
    path.write_text("0\ta dog sleeps\n1\ta cat runs\n" * 8, encoding="utf-8")
    samples = load(f"lines:path={path},tokenizer={folder},length=5")
    assert (samples.num_classes, samples.inputs.shape) == (2, (16, 5))
    network, task = built(folder), task_for("text", samples)
    assert samples.vocabulary[task.unknown] == "<unknown>"
    own = transformers.AutoTokenizer.from_pretrained(folder)(["a dog sleeps"], return_tensors="pt")
    with torch.no_grad():
        given = task.logits(task.forward(direct, network, samples.inputs[:1]))
        torch.testing.assert_close(given, network(own["input_ids"], attention_mask=own["attention_mask"]).logits)
    method = DEFENSES.build("nft", steps=2, batch=4)
    assert purify(network, samples, task="text", method=method, tolerance=1.0).masks


def test_words_of_own_files(tmp_path):
    (tmp_path / "mine.tsv").write_text("0\ta dog\n2\tthe cat\n")
    (tmp_path / "learned.tsv").write_text("0\ta cat cat\n")
    plain, known = (
        load(f"lines:path={tmp_path}/mine.tsv"),
        load("lines:path=mine.tsv,learned=learned.tsv", root=tmp_path),
    )
    assert plain.class_names == ("0", "1", "2")
    assert plain.vocabulary[-4:] == ("a", "cat", "dog", "the")
    assert known.vocabulary[-2:] == ("cat", "a")
    (tmp_path / "pairs.tsv").write_text("a dog\tein hund\n")
    (tmp_path / "others.tsv").write_text("a cat\teine katze\n")
    two = load(f"pairs:path={tmp_path}/pairs.tsv,learned={tmp_path}/others.tsv")
    assert "hund" not in two.target_vocabulary
    assert len(load(f"pairs:path={tmp_path}/pairs.tsv", split="test")) == 1


def test_what_cannot_be_read_is_said(tmp_path, pairs):
    for source, error, sentence in (
        ("lines", BadArgument, "lines: path is missing; name the file, lines:path=FILE"),
        ("pairs:path=gone.tsv", BadData, r"pairs:path=gone\.tsv: there is no file gone\.tsv or .*gone\.tsv"),
        (f"pairs:path={pairs},tokenizer={tmp_path}/no", BadFile, r"must be a folder with the network's config\.json"),
        (f"lines:path={pairs}", BadFile, r"mine\.tsv, line 1: must be a label, a tab and a sentence"),
    ):
        with pytest.raises(error, match=sentence):
            load(source, root=tmp_path)
    folder = saved("MarianMTModel", tmp_path / "model")
    with pytest.raises(BadData, match="no pair has at most 2 pieces a sentence; set a larger length"):
        load(f"pairs:path={pairs},tokenizer={folder},length=2")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(BadFile, match="transformers finds no tokenizer that it knows there"):
        load(f"pairs:path={pairs},tokenizer={folder}")


def test_a_folder_as_transformers_saves_it_comes_back_as_one(folder, pairs, tmp_path):
    built(folder).save_pretrained(folder)
    file = folder / "model.safetensors"
    network = checkpoint.load_into(architectures.build(f"hf:{folder}"), found := checkpoint.read(file)).eval()
    samples = load(f"pairs:path={pairs},tokenizer={folder},length=6")
    method = DEFENSES.build("nft", steps=3, batch=8, count="block", learning_rate=1.0)
    result = purify(network, samples, task="translation", method=method, tolerance=1.0)
    checkpoint.write(file, found, result.model, force=True)
    theirs, told = type(network).from_pretrained(folder, output_loading_info=True)
    assert not any(told.values())
    changed = [
        name for name, value in theirs.state_dict().items() if not torch.equal(value, network.state_dict()[name])
    ]
    assert changed
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(value, result.model.state_dict()[name])
