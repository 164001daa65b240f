"""From options to what the package's calls take: a network, samples, preprocessing, a backdoor, a bench's rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from detrojan.cli.options import Bench, Images, Network, Split, Trigger
from detrojan.errors import BadArgument, BadFile

if TYPE_CHECKING:
    from torch import nn

    from detrojan.backdoor import Backdoor
    from detrojan.bench.grid import Grid
    from detrojan.bench.store import Store
    from detrojan.checkpoint import Checkpoint
    from detrojan.data.preprocessing import Preprocessing
    from detrojan.data.samples import Samples


def build(network: Network) -> "nn.Module":
    """The network of `--arch`, with fresh weights."""
    from detrojan import architectures

    return architectures.build(network.arch, **architectures.parse_settings(network.arch_arg))


def load(path: Path, network: Network) -> "tuple[nn.Module, Checkpoint]":
    """The network of `--arch` with the weights of a file; the file is read first, since it is the likelier mistake."""
    from detrojan import checkpoint

    found = checkpoint.read(path)
    return checkpoint.load_into(build(network), found), found


def samples(source: str, images: Images, *, split: Split) -> "Samples":
    """The samples of a folder, a file or a named data set."""
    from detrojan.data.load import load as load_samples

    return load_samples(source, split=split, root=images.data_root, size=images.size)


def preprocessing(images: Images, victim: Path | None = None) -> "Preprocessing | None":
    """What `--preprocess` says; without it, what a victim's record says."""
    from detrojan.data.preprocessing import Preprocessing

    if images.preprocess is None and victim is not None:
        from detrojan.victim import preprocessing_of

        return preprocessing_of(victim)
    return None if images.preprocess is None else Preprocessing.parse(images.preprocess)


def task(name: str | None, found: "Samples", *, no_flip: bool = False) -> Any:
    """The task of a name, or where there is none, the one that fits the samples.

    Sentences that answer in the same words are a dialogue, in others a translation.
    """
    from detrojan.tasks import TASKS, task_for

    fitting = {"clips": "video", "points": "pointcloud", "tokens": "text"}.get(found.kind, "image")
    talk = "dialogue" if found.vocabulary and found.vocabulary == found.target_vocabulary else "translation"
    meant = {"tags": "multilabel", "boxes": "detection", "sentences": talk}.get(found.label_kind, fitting)
    chosen = name or meant
    return configured(TASKS, chosen, ("flip=false",), flag="--no-flip") if no_flip else task_for(chosen, found)


def clean_part(
    found: "Samples", *, first: int | None, count: int | None, per_class: int | None, seed: int
) -> "Samples":
    """The clean samples to purify with: all of them, or as many as the options say, spread over the classes."""
    from detrojan.data.samples import sample

    if count is not None and per_class is not None:
        raise BadArgument("--clean-count and --per-class exclude each other; give the number in all or by class")
    if first is not None:
        found = _first(found, first)
    if count is None and per_class is None:
        return found
    return sample(found, count=count, per_class=per_class, seed=seed)[0]


def without_first(found: "Samples", kept: int) -> "Samples":
    """The samples that a victim may see when the first `kept` are the defender's."""
    from detrojan.data.samples import dealt

    if not 0 <= kept < len(found) - 1:
        raise BadArgument(f"--keep must lie between 0 and {len(found) - 2}, for {found.name} has {len(found)} samples")
    return dealt(found, kept)[1]


def together(*, sharded: bool = False) -> 'Literal[False, True, "shards"]':
    """Under `torchrun`: meet the other processes, to work on one network with them."""
    from detrojan import parallel

    parallel.join()
    if parallel.processes() == 1:
        if sharded:
            raise BadArgument("--sharded divides a network among processes; start them by torchrun")
        return False
    return "shards" if sharded else True


def configured(registry: Any, name: str, pairs: tuple[str, ...], *, flag: str) -> Any:
    """A method of a registry with settings from `key=value` texts."""
    from detrojan.settings import configured as with_settings

    return with_settings(registry[name], pairs, flag=flag)


def backdoor(trigger: Trigger, victim: Path | None) -> "Backdoor | None":
    """The backdoor that `--attack` or a victim's record tells of."""
    from detrojan.attacks import ATTACKS
    from detrojan.backdoor import Backdoor
    from detrojan.victim import backdoor_of

    if victim is not None:
        if trigger.attack is not None or trigger.attack_arg:
            raise BadArgument("an attack and --victim exclude each other; the victim's record names its attack")
        return backdoor_of(victim)
    if trigger.attack is None:
        if trigger.attack_arg:
            raise BadArgument("--attack-arg needs an attack")
        return None
    attack = configured(ATTACKS, trigger.attack, trigger.attack_arg, flag="--attack-arg")
    return Backdoor(attack=attack, target=trigger.target, mapping=trigger.mapping, sources=trigger.sources)


def grid(name: str, bench: Bench) -> "Grid":
    """The cells of a grid, with the scale and the seeds that the options say."""
    from detrojan.bench import grid as grids

    return grids.read(grids.named(name), scale=bench.scale, seeds=bench.seeds or None)


def rows(folder: Path, *, new: bool = False) -> "Store":
    """The rows of a folder; a `new` one may have none yet."""
    from detrojan.bench.store import Store

    path = folder / "rows.db"
    if not new and not path.is_file():
        raise BadFile(f"{path} is not there; make rows with `detrojan bench run GRID --store {folder}`")
    return Store(path)


def _first(found: "Samples", count: int) -> "Samples":
    from detrojan.data.samples import dealt

    if not 1 <= count <= len(found):
        raise BadArgument(f"--first must lie between 1 and {len(found)}, the number of samples of {found.name}")
    return dealt(found, count)[0]
