"""Architectures by name: what is built, and the sentence for each way a name or a setting can be wrong."""

import json
import sys

import pytest
import torch
from torch import nn

from detrojan import architectures
from detrojan.errors import BadArgument, BadFile, MissingExtra, UnknownName

FILE = """
import beside
from torch import nn

net = nn.Linear(2, 3)

def small(width=2, num_classes=3):
    import beside
    return nn.Linear(width, num_classes)

def text():
    return "no network"

def unlucky():
    raise KeyError("no luck")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a user's files."""
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "script.py").write_text("import sys; sys.exit(2)")
    (tmp_path / "broken.py").write_text("import no_such_library")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("beside", None)


@pytest.mark.parametrize(
    ("spec", "settings", "kind", "classes"),
    [
        ("torchvision:squeezenet1_0", {"num_classes": 3}, "SqueezeNet", None),
        ("torchvision:resnet18", {"num_classes": 3}, "ResNet", ("fc.weight", 3)),
        ("torchvision:lraspp_mobilenet_v3_large", {"num_classes": 4}, "LRASPP", None),
        ("torchvision:ssdlite320_mobilenet_v3_large", {"num_classes": 4}, "SSD", None),
        ("timm:test_resnet", {"num_classes": 5}, "ResNet", ("fc.weight", 5)),
        ("detrojan:preact_resnet18", {"width": 4, "num_classes": 7}, "PreActResNet", ("fc.weight", 7)),
        ("torch.nn:Linear", {"in_features": 2, "out_features": 6}, "Linear", ("weight", 6)),
        ("mine.py:small", {"num_classes": 4}, "Linear", ("weight", 4)),
        ("mine.py:net", {}, "Linear", ("weight", 3)),
    ],
)
def test_a_spec_gives_its_network(spec, settings, kind, classes, folder):
    network = architectures.build(spec, **settings)
    assert isinstance(network, nn.Module)
    assert type(network).__name__ == kind
    if classes:
        assert network.state_dict()[classes[0]].shape[0] == classes[1]


def test_the_classes_of_a_detector_are_counted_without_the_background():
    detector = architectures.build("torchvision:ssdlite320_mobilenet_v3_large", num_classes=4)
    assert detector.head.classification_head.num_columns == 5
    own = architectures.build("detrojan:ssd_small", num_classes=4, width=4)
    assert own.head.classification_head.num_columns == 5


@pytest.mark.parametrize(
    ("spec", "settings", "error", "sentence"),
    [
        ("torchvision:resnet81", {}, UnknownName, r"no torchvision model 'resnet81', did you mean 'resnet18'\?"),
        (
            "torchvision:resnet18",
            {"n_classes": 3},
            BadArgument,
            r"'n_classes'.*did you mean num_classes\?.*num_classes=1000",
        ),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, BadArgument, r"weights='DEFAULT' would download weights"),
        ("timm:test_resne", {}, UnknownName, r"did you mean 'test_resnet'\?"),
        ("timm:hf-hub:someone/model", {}, UnknownName, r"no timm model 'hf-hub:someone/model'"),
        ("timm:test_resnet", {"pretrained": True}, BadArgument, r"would download"),
        ("detrojan:preact_resnet", {}, UnknownName, r"did you mean 'preact_resnet"),
        ("detrojan:preact_resnet18", {"widht": 3}, BadArgument, r"did you mean width\? It takes .*width=64"),
        ("resnet18", {}, UnknownName, r"does not say where .* did you mean torchvision:resnet18\?"),
        ("mine", {}, UnknownName, r"did you mean mine.py:callable\?"),
        ("mine.py", {}, UnknownName, r"the callable is missing after the file"),
        ("mien.py:small", {}, BadFile, r"there is no file mien.py, did you mean mine.py\?"),
        ("mine.py:smal", {}, UnknownName, r"no callable in mine.py: 'smal', did you mean 'small'\?"),
        ("mine.py:small", {"depth": 2}, BadArgument, r"'depth'.*takes mine.py:small\(width=2, num_classes=3\)"),
        ("mine.py:text", {}, BadArgument, r"returned an object of type str"),
        ("mine.py:unlucky", {}, BadArgument, r"mine.py:unlucky failed with KeyError: 'no luck'"),
        ("script.py:net", {}, BadArgument, r"script.py failed with SystemExit: 2"),
        ("broken.py:net", {}, BadArgument, r"broken.py failed with ModuleNotFoundError: .*no_such_library"),
        ("no_such_package.nets:small", {}, UnknownName, r"no module 'no_such_package.nets' can be imported"),
        ("torch.nn:Linea", {}, UnknownName, r"did you mean 'Linear'\?"),
        ("torch.nn:Linear", {}, BadArgument, r"missing a required argument: 'in_features'.*in_features, out_features"),
        ("hf:nowhere", {}, BadFile, r"there is no file nowhere.config.json"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(spec, settings, error, sentence, folder):
    with pytest.raises(error, match=sentence):
        architectures.build(spec, **settings)


def test_the_users_own_error_is_chained(folder):
    with pytest.raises(BadArgument) as caught:
        architectures.build("mine.py:unlucky")
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_users_file_leaves_the_import_path_as_it_was(folder):
    before = list(sys.path)
    architectures.build("mine.py:small")
    assert sys.path == before


def test_a_missing_library_comes_with_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'detrojan\[timm\]'"):
        architectures.build("timm:resnet18")


BERT = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 20,
}


def _config(folder, **changes):
    (folder / "config.json").write_text(json.dumps(BERT | changes))
    return f"hf:{folder}"


def test_a_transformers_folder_gives_the_class_that_it_names(tmp_path):
    network = architectures.build(_config(tmp_path), num_labels=4)
    assert type(network).__name__ == "BertForSequenceClassification"
    assert network.classifier.weight.shape == (4, 16)


def test_a_transformers_folder_without_a_class_gives_the_bare_model(tmp_path):
    assert type(architectures.build(_config(tmp_path, architectures=None))).__name__ == "BertModel"


@pytest.mark.parametrize(
    ("changes", "settings", "error", "sentence"),
    [
        ({"architectures": ["TheirOwnNet"]}, {}, BadFile, "'TheirOwnNet', which transformers does not have"),
        ({"architectures": ["Trainer"]}, {}, BadFile, "'Trainer', which transformers does not have"),
        (
            {"model_type": "theirs", "auto_map": {"AutoConfig": "x.X"}},
            {},
            BadFile,
            "no configuration that transformers",
        ),
        ({}, {"no_such_setting": 3}, BadArgument, "has no setting 'no_such_setting'"),
    ],
)
def test_a_transformers_folder_cannot_bring_code(changes, settings, error, sentence, tmp_path):
    with pytest.raises(error, match=sentence):
        architectures.build(_config(tmp_path, **changes), **settings)


def test_settings_are_literals_or_strings():
    assert architectures.parse_settings(
        ["num_classes=10", "depths=(2, 2)", "act=relu", "pretrained=false", "norm=None", "word='none'", "lr=1e-3"]
    ) == {
        "num_classes": 10,
        "depths": (2, 2),
        "act": "relu",
        "pretrained": False,
        "norm": None,
        "word": "none",
        "lr": 1e-3,
    }


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (["num_classes"], "'num_classes' is no name=value"),
        (["num-classes=3"], "'num-classes=3' is no name=value"),
        (["a=1", "a=2"], "'a' is given twice"),
    ],
)
def test_settings_that_are_none_are_refused(pairs, sentence):
    with pytest.raises(BadArgument, match=sentence):
        architectures.parse_settings(pairs)


@pytest.mark.parametrize(
    ("source", "one"),
    [("torchvision", "resnet18"), ("timm", "convnext_atto"), ("detrojan", "preact_resnet18")],
)
def test_names_are_specs(source, one):
    listed = architectures.names(source)
    assert f"{source}:{one}" in listed
    assert listed == sorted(listed)


def test_names_of_an_unknown_source():
    with pytest.raises(UnknownName, match="did you mean 'torchvision'"):
        architectures.names("torchvison")


def test_nothing_is_seeded_by_building():
    torch.manual_seed(0)
    one = architectures.build("detrojan:preact_resnet18", width=2).fc.weight
    two = architectures.build("detrojan:preact_resnet18", width=2).fc.weight
    assert not torch.equal(one, two)
