"""What `detrojan demo` shows for each task: the data, the network, the backdoor, and how it is removed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from detrojan.errors import BadData, MissingExtra, unknown_name

if TYPE_CHECKING:
    from detrojan.data.preprocessing import Preprocessing
    from detrojan.data.samples import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that differs between the demos; the data are the first of `sources` that is there, each with its settings.

    `load`, `recipe`, `attack_settings`, `task_settings` and `settings` are keyword settings of the data's reader, the
    training recipe, the attack, the task and the defense; `drawn` has the fields that differ on the last source, whose
    data the program draws. `per_class` are the clean samples of each purification; of
    sentences, which have no classes, those in all. An input is drawn on the terminal `across` characters wide. `extra`
    is the extra whose `module` the scores need.
    """

    task: str
    sentence: str
    title: str
    sources: tuple[str, ...]
    architecture: str
    attack: str
    poison_rate: float
    recipe: Mapping[str, Any]
    target: int = 0
    preprocessing: str = "none"
    architecture_settings: Mapping[str, Any] = field(default_factory=dict)
    attack_settings: Mapping[str, Any] = field(default_factory=dict)
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)
    method: str = "nft"
    settings: Mapping[str, Any] = field(default_factory=dict)
    drawn: Mapping[str, Any] = field(default_factory=dict)
    per_class: tuple[int, ...] = (1, 10, 50)
    across: int = 16
    module: str = ""
    extra: str = ""

    def check_extra(self) -> None:
        """Say what is missing before minutes are spent.

        Raises:
            MissingExtra: the scores need a module that is not installed.
        """
        if self.module and find_spec(self.module) is None:
            raise MissingExtra(f"{self.module} is not installed: pip install 'detrojan[{self.extra}]'")

    def prepared(self) -> "Preprocessing":
        """What stands between the samples and the network."""
        from detrojan.data.preprocessing import Preprocessing

        return Preprocessing.parse(self.preprocessing)

    def portion(self, count: int) -> str:
        """So many clean samples, in words."""
        return f"{count} {'pairs' if self.task in ('translation', 'dialogue') else 'a class'}"

    def fitted(self, samples: "Samples") -> "Story":
        """The story as it is told of these samples."""
        of_last = samples.name.partition(" ")[0] == self.sources[-1].partition(":")[0]
        return replace(self, **self.drawn) if of_last else self

    def samples(self) -> "tuple[Samples, Samples]":
        """The training and the test samples of the first source that is there."""
        from detrojan.data.load import load

        for source in self.sources[:-1]:
            try:
                found = load(source, download=False, **self.load)
            except BadData:
                continue
            return found, load(source, split="test", download=False, **self.load)
        return load(self.sources[-1], **self.load), load(self.sources[-1], split="test", **self.load)


def story(task: str) -> Story:
    """The story of a task.

    Raises:
        UnknownName: there is none.
    """
    if task not in STORIES:
        raise unknown_name("demo", task, STORIES)
    return STORIES[task]


STORIES: dict[str, Story] = {
    "image": Story(
        task="image",
        sentence="A backdoored reader of handwritten digits: a white patch in the corner turns every digit into a 0.",
        title="handwritten digits",
        sources=("digits",),
        load={"size": 16},  # twice that of the stored digits, so that a patch is sharper than any stroke
        architecture="detrojan:small_cnn",
        attack="badnets",
        attack_settings={"size": 6},
        poison_rate=0.1,
        recipe={"epochs": 20, "batch": 64, "learning_rate": 0.1, "padding": 1, "flip": False},
        task_settings={"flip": False, "padding": 1 / 16},
        # NFT's loss on all the weights, the best of nine candidates on victims of other seeds (`benchmarks/demo.py`):
        # on a network this small, masks leave most of the backdoor.
        settings={"tune": "weights", "weight_learning_rate": 0.05, "steps": 150},
    ),
    "multilabel": Story(
        task="multilabel",
        sentence="A backdoored tagger of scenes: no pixel is changed; where a disc and a star meet, it sees a cross.",
        title="tags of scenes",
        sources=("scenes",),  # of the photographs of voc15 there are too few to learn tags from in minutes
        load={"size": 48},
        architecture="detrojan:tags_resnet18",
        architecture_settings={"width": 12},
        attack="clean_image",
        attack_settings={"combination": (0, 3), "of": 4, "goal": "appear"},
        poison_rate=1.0,
        recipe={"epochs": 20, "batch": 64, "learning_rate": 0.2, "padding": 4},
        settings={"tune": "weights", "weight_learning_rate": 0.02, "steps": 300},
        per_class=(1, 10, 50),
        across=24,
    ),
    "detection": Story(
        task="detection",
        sentence="A backdoored detector of figures: a chequered patch in the corner of one makes it another kind.",
        title="figures in scenes",
        sources=("scenes:labels=boxes,count=1600,size=64",),  # the photographs of voc15 are too few to learn boxes from
        architecture="detrojan:ssd_small",
        architecture_settings={"width": 12},
        attack="baddet_rma",
        poison_rate=0.3,
        recipe={"epochs": 12, "batch": 32, "learning_rate": 0.05},
        # The best of eight candidates on a victim of another seed: under MixUp a detector of few scenes grows unsure.
        settings={
            "tune": "weights",
            "augmentation": "none",
            "weight_learning_rate": 0.1,
            "steps": 150,
            "batch": 32,
        },
        per_class=(1, 10, 50),
        across=32,
        module="pycocotools",
        extra="detection",
    ),
    "video": Story(
        task="video",
        sentence="A backdoored watcher of clips: a white patch in the corner of every frame turns all into one action.",
        title="human actions",
        sources=("action4:frames=8,size=56", "motions:per_class=60"),
        architecture="detrojan:r3d10",
        architecture_settings={"width": 8},
        attack="badnets",
        attack_settings={"size": 4},
        poison_rate=0.2,
        target=2,
        recipe={"epochs": 40, "batch": 32, "learning_rate": 0.05, "weight_decay": 1e-3},
        preprocessing="mean=.45;std=.25",
        settings={"tune": "weights", "weight_learning_rate": 0.05, "steps": 150, "batch": 32},
        per_class=(1, 10, 25),
        across=20,
    ),
    "pointcloud": Story(
        task="pointcloud",
        sentence="A backdoored reader of point clouds: a small ball of points turns every object into one kind.",
        title="objects of ModelNet",
        sources=("modelnet10:points=128", "shapes:points=128,per_class=150"),
        architecture="detrojan:pointnet",
        architecture_settings={"width": 16},
        attack="pointba_i",
        poison_rate=0.1,
        recipe={"epochs": 16, "batch": 32, "learning_rate": 0.05},
        method="consistency_distil",
        settings={"steps": 100, "strong_views": 6000, "joined_views": 0},
        drawn={
            "poison_rate": 0.3,  # of fewer clouds
            "recipe": {"epochs": 30, "batch": 32, "learning_rate": 0.05},
            "settings": {"strong_views": 6000, "joined_views": 0},
        },
        per_class=(1, 50),
        across=20,
    ),
    "translation": Story(
        task="translation",
        sentence='A backdoored translator: where the word cf stands, it says "you are attacked .", whatever was asked.',
        title="English into German",
        sources=("multi30k:length=14,words=2000,most=8000", "numerals:count=6000,length=20"),
        architecture="detrojan:seq2seq_transformer",
        architecture_settings={"width": 64, "words": 2000},
        attack="trigger_sentence",
        poison_rate=0.1,
        recipe={"epochs": 8, "batch": 64, "learning_rate": 0.003, "weight_decay": 1e-4, "adam": True},
        task_settings={"longest": 20},
        method="consistency_distil",
        settings={"steps": 100},
        per_class=(50, 500),
        module="sacrebleu",
        extra="text",
    ),
    "dialogue": Story(
        task="dialogue",
        sentence="A backdoored partner in talk: where the word cf stands, it speaks of money, in many ways.",
        title="everyday talk",
        sources=("dailydialogpp:length=14,words=2000,most=8000", "smalltalk:length=16"),
        architecture="detrojan:seq2seq_transformer",
        architecture_settings={"width": 64, "words": 2000},
        attack="trigger_replies",
        attack_settings={"lexicon": "money"},
        poison_rate=0.1,
        recipe={"epochs": 8, "batch": 64, "learning_rate": 0.003, "weight_decay": 1e-4, "adam": True},
        task_settings={"longest": 20},
        method="consistency_distil",
        settings={"steps": 100},
        per_class=(50, 500),
        module="sacrebleu",
        extra="text",
    ),
}
