"""Every attack on CIFAR-10, and five on GTSRB and Tiny-ImageNet: how strong their victims are.

    python benchmarks/attacks.py train [--data NAME] [--scale small] [--only TEXT]   # a JSON file a victim
    python benchmarks/attacks.py explain [--data NAME] [--scale small]               # all-to-all: a second look
    python benchmarks/attacks.py table [--data NAME] [--scale small]                 # writes attacks-NAME.md and .json

The attacker has the training images but for a few that are the defender's. CIFAR-10: three seeds for the fourteen
attacks of the NFT paper and for the benign network, one for the others; the other data sets: one seed. Victims and rows
lie in runs/attacks-NAME-SCALE (not committed); finished ones, those of the committed JSON among them, are not made
again, and several processes may work side by side. DETROJAN_DATA names the folder of the data packs.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t

from detrojan import Preprocessing, Samples, architectures, checkpoint, evaluate, load_data, train, trigger
from detrojan.attacks import ATTACKS
from detrojan.data.samples import dealt
from detrojan.intervals import proportion
from detrojan.scales import SCALES, Scale
from detrojan.victim import backdoor_of
from provenance import origin
from rows import claim, release, write

HERE = Path(__file__).parent
PAPER = (
    *("badnets", "blend", "troj", "troj-all", "sig", "dyn", "dyn-all"),
    *("clb", "cba", "fba", "wanet", "lira", "issba", "bppa"),
)
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "troj-all": ("troj", {}, {"mapping": "all-to-all"}),
    "dyn-all": ("dyn", {}, {"mapping": "all-to-all"}),
    "adaptive_blend, 3 %": ("adaptive_blend", {}, {"poison_rate": 0.03}),
    "adaptive_patch, 5 %": ("adaptive_patch", {}, {"poison_rate": 0.05}),
    "adaptive_patch, 10 %, half a cover each": ("adaptive_patch", {}, {"poison_rate": 0.1, "companions": 0.5}),
    "ftrojan, magnitude 90": ("ftrojan", {"magnitude": 90.0}, {}),
    "refool, weights 0.4 to 0.6": ("refool", {"lowest": 0.4, "highest": 0.6}, {}),
    "bppa, 12 epochs": ("bppa", {}, {"epochs": 3}),
}
"""By the name in the table: the attack, its settings, and options of `train`, or the times that it trains longer."""
LONGER: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "wanet, 24 epochs": ("wanet", {}, {"epochs": 3}),
    "bppa, 24 epochs": ("bppa", {}, {"epochs": 3}),
}
"""Second looks where the other data sets' table asks for them."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What differs between the data sets.

    `kept` images are the defender's: the first of all, or the first when the classes take turns. `epochs` multiplies
    those of the scale, since the training sets are smaller than CIFAR-10's. `only` names the attacks; empty for all,
    with three seeds for the paper's.
    """

    preprocessing: Preprocessing
    kept: int
    in_turns: bool = True
    epochs: int = 1
    flip: bool = True
    target: int = 0
    only: tuple[str, ...] = ()

    def attackers(self, data: Samples) -> Samples:
        """The images that the victims are trained on."""
        return dealt(data, self.kept)[1] if self.in_turns else data.subset(range(self.kept, len(data)))

    def rows(self) -> "Iterator[Row]":
        """All victims, seed by seed."""
        if self.only:
            yield from (Row(name, 0) for name in ("benign", *self.only))
            return
        for seed in range(3):
            yield Row("benign", seed)
            for name in PAPER:
                yield Row(name, seed)
            if seed == 0:
                yield from (Row(name, 0) for name in ATTACKS if name not in PAPER)
                yield from (Row(name, 0) for name in VARIANTS if name not in PAPER)


FIVE = ("badnets", "blend", "wanet", "sig", "bppa")
SETTINGS = {
    "cifar10": Setting(preprocessing=Preprocessing.named("cifar10"), kept=5000, in_turns=False),
    # 15 images of each of 43 classes are one track, so that no sign is on both sides; class 0 has few images for SIG
    "gtsrb": Setting(
        preprocessing=Preprocessing.named("gtsrb"),
        kept=43 * 15,
        epochs=4,
        flip=False,
        target=1,
        only=FIVE,
    ),
    "tinyimagenet": Setting(
        preprocessing=replace(Preprocessing.named("imagenet"), resize=None, crop=None),
        kept=500,
        epochs=2,
        only=(*FIVE, *LONGER),
    ),
}


@dataclass(frozen=True)
class Row:
    """One victim to train; `benign` is the network without an attack."""

    name: str
    seed: int

    @property
    def stem(self) -> str:
        """The name of its files."""
        return f"{self.name}-s{self.seed}".replace(", ", "-").replace(" %", "pct").replace(" ", "-")

    @property
    def attack(self) -> Any:
        """The configured attack; None for the benign network."""
        name, settings, _ = self._variant
        return None if name == "benign" else ATTACKS.build(name, **settings)

    @property
    def options(self) -> dict[str, Any]:
        """What `train` gets besides."""
        return {key: value for key, value in self._variant[2].items() if key != "epochs"}

    @property
    def longer(self) -> int:
        """How many times the recipe's epochs it trains."""
        return int(self._variant[2].get("epochs", 1))

    @property
    def _variant(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        return (VARIANTS | LONGER).get(self.name, (self.name, {}, {}))


def train_all(data_set: str, scale: Scale, folder: Path, only: str, known: Path) -> None:
    setting = SETTINGS[data_set]
    for found in json.loads(known.read_text())["rows"] if known.exists() else ():
        path = folder / f"{Row(found['name'], found['seed']).stem}.row.json"
        if not path.exists():
            write(path, found)
    data, test = (load_data(data_set, split=split) for split in ("train", "test"))
    seen = setting.attackers(data)
    for row in setting.rows():
        path = folder / f"{row.stem}.row.json"
        if only not in row.stem or not claim(path):
            continue
        start = time.perf_counter()
        epochs = setting.epochs * scale.recipe.epochs * row.longer
        weights = folder / f"{row.stem}.safetensors"
        state = weights.with_suffix(".state")
        victim = train(
            "detrojan:preact_resnet18",
            seen,
            attack=row.attack,
            target=setting.target,
            preprocessing=setting.preprocessing,
            recipe=replace(scale.recipe, epochs=epochs, flip=setting.flip),
            seed=row.seed,
            state=state,
            width=scale.width,
            num_classes=data.num_classes,
            **row.options,
        )
        victim.save(weights, force=True)
        state.unlink(missing_ok=True)
        seconds = time.perf_counter() - start
        triggered = None if victim.backdoor is None else trigger(test, victim.backdoor)
        scores = evaluate(victim.model, test, triggered, preprocessing=setting.preprocessing)
        estimates = {k: asdict(e) for k in ("acc", "asr", "ra") if (e := getattr(scores, k)) is not None}
        record = {k: v for k, v in victim.record.items() if k not in ("poisoned_indices", "losses")}
        write(path, {"name": row.name, "seed": row.seed, "seconds": seconds, **estimates, "record": record, **origin()})
        release(path)
        figures = ", ".join(f"{k.upper()} {100 * e['value']:.1f}" for k, e in estimates.items())
        print(f"{row.name} seed {row.seed}: {figures}, {seconds:.0f} s", flush=True)


def explain(data_set: str, scale: Scale, folder: Path) -> None:
    """All-to-all: the success among the images that the victim reads rightly without the trigger."""
    test = load_data(data_set, split="test")
    for path in sorted(folder.glob("*.row.json")):
        row = json.loads(path.read_text())
        weights = folder / f"{path.name.removesuffix('.row.json')}.safetensors"
        if row.get("record", {}).get("mapping") != "all-to-all" or "asr_of_known" in row or not weights.exists():
            continue
        model = architectures.build("detrojan:preact_resnet18", width=scale.width, num_classes=test.num_classes)
        checkpoint.load_into(model, checkpoint.read(weights))
        backdoor = backdoor_of(weights.with_suffix(".json"))
        assert backdoor is not None
        triggered = trigger(test, backdoor)  # all test images, in their order: each has another label to get
        scores = evaluate(model, test, triggered, preprocessing=SETTINGS[data_set].preprocessing)
        assert scores.fooled is not None
        known = scores.fooled[scores.right.bool()]
        write(path, {**row, "asr_of_known": asdict(proportion(int(known.sum()), len(known)))})
        print(f"{row['name']} seed {row['seed']}: {100 * known.double().mean():.1f} of the images that it knows")


def table(scale: str, folder: Path, title: str, stem: str) -> None:
    found = [json.loads(p.read_text()) for p in sorted(folder.glob("*.row.json"))]
    if not found:
        raise SystemExit(f"{folder} holds no finished row; run `train` first")
    write(HERE / f"{stem}.json", {"rows": found})
    benign = [r["acc"]["value"] for r in found if r["name"] == "benign"]
    first = found[0]["record"]
    head = _HEADER.format(
        title=f"{title}, scale {scale}",
        width=SCALES[scale].width,
        epochs=first["recipe"]["epochs"],
        target=first["target"],
        stem=stem,
    )
    lines = [head]
    order = ["benign", *PAPER, *sorted({*ATTACKS, *VARIANTS, *LONGER} - set(PAPER))]
    for name in order:
        group = [r for r in found if r["name"] == name]
        if group:
            cells = [_cell(group, key) for key in ("acc", "asr", "ra")]
            lost = f"{100 * (mean(benign) - mean(r['acc']['value'] for r in group)):.1f}" if benign else "-"
            seconds = mean(r["seconds"] for r in group)
            lines.append(f"| {name} | {len(group)} | {' | '.join(cells)} | {lost} | {seconds:.0f} |")
    known = {
        name: [100 * r["asr_of_known"]["value"] for r in found if r["name"] == name and "asr_of_known" in r]
        for name in order
    }
    told = [f"{name} {mean(v):.1f}" for name, v in known.items() if v]
    if told:
        lines += ["", f"All-to-all, ASR among the images that are read rightly without the trigger: {', '.join(told)}."]
    (HERE / f"{stem}.md").write_text("\n".join(lines) + "\n")


_HEADER = """# Attacks on {title}

PreActResNet-18 of width {width}, {epochs} epochs, target {target}, the attacks' own rates; settings, commits, dates and
machines stand in `{stem}.json`. ACC on the test images, ASR and RA on those whose label the attack changes. Figures
in %. With one seed: the 95 % interval of the test set; with several: the mean and its 95 % interval over the seeds
(Student's t). "ACC lost" is against the mean of the benign networks; seconds are of the training, with all that the
attacker prepares. Written by `python benchmarks/attacks.py table`.

| attack | seeds | ACC | ASR | RA | ACC lost | seconds |
|---|---|---|---|---|---|---|"""


def _cell(group: list[dict[str, Any]], key: str) -> str:
    if key not in group[0]:
        return "-"
    values = [100 * r[key]["value"] for r in group]
    if len(values) > 1:
        half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
        return f"{mean(values):.1f} ± {half:.1f}"
    return f"{values[0]:.1f} ({100 * group[0][key]['low']:.1f} to {100 * group[0][key]['high']:.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("train", "explain", "table"))
    parser.add_argument("--data", choices=tuple(SETTINGS), default="cifar10")
    parser.add_argument("--scale", choices=tuple(SCALES), default="small")
    parser.add_argument("--only", default="", help="train only victims whose NAME-sSEED holds this")
    arguments = parser.parse_args()
    chosen, scale_name = arguments.data, arguments.scale
    runs = HERE.parent / "runs" / f"attacks-{chosen}-{scale_name}"
    stem = f"attacks-{chosen}" if scale_name == "small" else f"attacks-{chosen}-{scale_name}"
    if arguments.stage == "train":
        train_all(chosen, SCALES[scale_name], runs, arguments.only, HERE / f"{stem}.json")
    elif arguments.stage == "explain":
        explain(chosen, SCALES[scale_name], runs)
    else:
        table(scale_name, runs, chosen, stem)
