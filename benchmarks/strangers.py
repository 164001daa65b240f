"""Models that others backdoored, purified through the command line in their own file formats.

    python benchmarks/strangers.py CHECKPOINTS_FOLDER     # writes benchmarks/strangers.md and .json

For each file: `detrojan purify` with 500 clean images (stratified, of the first 5,000 CIFAR-10 test images, or of the
first half of GTSRB's, cropped to the sign), then ACC, ASR and RA before and after on the last 5,000 (the other half).
The two networks are in tests/strangers.py. Work lies in runs/strangers; finished files are not purified again, so that
several of these may run at once, each with its own --method or --file.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import detrojan
from detrojan import architectures, checkpoint
from detrojan.attacks.badnets import BadNets
from detrojan.data.samples import Samples, sample
from detrojan.defenses import DEFENSES
from detrojan.triggers import Trigger
from detrojan.whole_files import beside
from provenance import origin

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "strangers"
TOLD = ("shrink_distil", "shrink_distil lost=0.2", "neuron_masks", "nft")
ROLLED_BACK = 3
APART = {"abl", "unit", "identity", "auto"}  # no training set; no file can hold it; nothing; one of the others
METHODS = (*TOLD, *(name for name in DEFENSES if name not in APART and name not in TOLD))


@dataclass(frozen=True)
class Additive(Trigger):
    """x' = clip(x + picture): the trojan watermark and square of the I-BAU collection."""

    picture: Path

    def stamp(self, pixels: Tensor) -> Tensor:
        picture = np.array(Image.open(self.picture).convert("RGB"))
        return (pixels + torch.from_numpy(picture).permute(2, 0, 1) / 255).clamp(0, 1)


@dataclass(frozen=True)
class Stranger:
    file: str
    architecture: str
    data: str
    attack: Any
    target: int
    classes: int = 10

    @property
    def name(self) -> str:
        return self.file.partition(".")[0]


def strangers(folder: Path) -> Iterator[Stranger]:
    four = BadNets(size=4, margin=1)
    yield Stranger("vggsmall-cifar10-badnets.pth", "vgg_small", "cifar10", four, 8)
    yield Stranger("vggsmall-cifar10-trojan_wm.pth", "vgg_small", "cifar10", Additive(folder / "trojan_wm.png"), 2)
    square = Additive(folder / "trojan_sq.png")
    yield Stranger("vggsmall-gtsrb-trojan_sq.pth", "vgg_small", "gtsrb:crop=sign", square, 2, 43)
    yield Stranger("wrn16_1-cifar10-grid.pth.tar", "wrn16_1", "cifar10", BadNets(pattern="checker"), 5)


def prepare(stranger: Stranger) -> tuple[Path, Samples]:
    """The file of 500 clean images, and the test images that the scores are made on."""
    data = detrojan.load_data(stranger.data, split="test")
    half = len(data) // 2
    clean, _ = sample(data.subset(range(half)), count=500, seed=0)
    path = RUNS / f"{stranger.data.partition(':')[0]}-clean.npz"
    RUNS.mkdir(parents=True, exist_ok=True)
    with beside(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, images=clean.inputs.permute(0, 2, 3, 1).numpy(), labels=clean.labels.numpy())
    return path, data.subset(range(half, len(data)))


def command(stranger: Stranger, folder: Path, clean: Path, method: str) -> list[str]:
    name, *settings = method.split()
    out = RUNS / f"{stranger.name}-{method.replace(' ', '-')}{''.join(Path(stranger.file).suffixes)}"
    parts = ["purify", str(folder / stranger.file), "--arch", f"tests/strangers.py:{stranger.architecture}"]
    parts += ["--arch-arg", f"num_classes={stranger.classes}", "--clean", str(clean), "--method", name]
    parts += [part for setting in settings for part in ("--set", setting)]
    parts += ["--tolerance", "1", "--force", "--json", "-o", str(out)]
    return parts + (["--no-flip"] if stranger.data.startswith("gtsrb") else [])


def score(stranger: Stranger, path: Path, test: Samples) -> dict[str, float]:
    spec = f"{HERE.parent / 'tests' / 'strangers.py'}:{stranger.architecture}"
    network = architectures.build(spec, num_classes=stranger.classes)
    model = checkpoint.load_into(network, checkpoint.read(path))
    backdoor = detrojan.Backdoor(attack=stranger.attack, target=stranger.target)
    scores = detrojan.evaluate(model, test, detrojan.trigger(test, backdoor))
    return {"acc": 100 * scores.acc.value, "asr": 100 * scores.asr.value, "ra": 100 * scores.ra.value}


def run(folder: Path, methods: tuple[str, ...], files: tuple[str, ...]) -> None:
    for method in methods:
        for stranger in strangers(folder):
            if files and stranger.file not in files:
                continue
            row = RUNS / f"row-{stranger.name}-{method.replace(' ', '-')}.json"
            if row.exists():
                continue
            clean, test = prepare(stranger)
            before = score(stranger, folder / stranger.file, test)
            arguments = command(stranger, folder, clean, method)
            done = subprocess.run(
                [sys.executable, "-m", "detrojan", *arguments],
                capture_output=True,
                text=True,
                cwd=HERE.parent,
            )
            if done.returncode not in (0, ROLLED_BACK):
                raise SystemExit(f"{stranger.file}, {method}: {done.stderr}")
            answer = json.loads(done.stdout)
            out = Path(arguments[arguments.index("-o") + 1])
            after = before if done.returncode == ROLLED_BACK else score(stranger, out, test)
            shown = [Path(a).name if "/" in a and ":" not in a else a for a in arguments]
            found = {
                "file": stranger.file,
                "method": method,
                "before": before,
                "after": after,
                "verdict": answer["verdict"],
                "seconds": answer["cost"]["seconds"],
                "command": "detrojan " + " ".join(shown),
                **origin(),
            }
            row.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{stranger.file} {method}: {before} -> {after}", flush=True)


_HEADER = """# Models that others backdoored

Each file went through `detrojan purify` in its own format, with 500 clean images (stratified; of the first 5,000
CIFAR-10 test images, or of the first half of GTSRB's, cropped to the sign). ACC, ASR and RA in %, before and after, on
the last 5,000 (the other half). The two networks are in `tests/strangers.py`. An earlier form of `shrink_distil` was
developed with the grid and the trojan watermark in view; its settings of today come from `development.md`.
"""


def table() -> None:
    rows = [json.loads(path.read_text()) for path in sorted(RUNS.glob("row-*.json"))]
    (HERE / "strangers.json").write_text(json.dumps(rows, indent=1) + "\n")
    found = {(row["method"], row["file"]): row for row in rows}
    files = sorted({row["file"] for row in rows})
    before = {row["file"]: row["before"] for row in rows}
    lines = [_HEADER]
    lines += [f"| method | {' | '.join(file.partition('.')[0] for file in files)} |", f"|---{'|---' * len(files)}|"]
    lines += [f"| before | {' | '.join(_cell(before[file]) for file in files)} |"]
    for method in sorted({row["method"] for row in rows}):
        cells = [_after(found.get((method, file))) for file in files]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    made: dict[str, list[str]] = {}
    for row in rows:
        made.setdefault(f"commit {row['commit']}, {row['date']}, {row['machine']}", []).append(row["method"])
    lines += [
        "\nOne of the commands: `"
        + rows[0]["command"]
        + "`. Where the rows come from (seconds stand in the JSON file):"
    ]
    lines += ["", *(f"- {origin}: {', '.join(sorted(set(methods)))}" for origin, methods in made.items())]
    (HERE / "strangers.md").write_text("\n".join(lines) + "\n")


def _after(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    return _cell(row["after"]) if row.get("verdict", {"accepted": True})["accepted"] else "rolled back"


def _cell(scores: dict[str, float]) -> str:
    return f"{scores['acc']:.1f} / {scores['asr']:.1f} / {scores['ra']:.1f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the four checkpoints")
    parser.add_argument("--method", choices=METHODS, action="append", help="run only this method; may be repeated")
    parser.add_argument("--file", action="append", default=[], help="run only this checkpoint; may be repeated")
    arguments = parser.parse_args()
    run(arguments.folder.resolve(), tuple(arguments.method or METHODS), tuple(arguments.file))
    table()
