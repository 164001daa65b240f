"""What a network makes of its inputs just before it decides, and a map of it.

Source of the map: van der Maaten and Hinton, "Visualizing Data using t-SNE" (JMLR 2008), by scikit-learn; the features
are those of the NFT poster's figure.
"""

import copy
from dataclasses import dataclass

import torch
from sklearn.manifold import TSNE
from torch import Tensor, nn

from detrojan.backdoor import Triggered
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.errors import Unsupported
from detrojan.execution import Execution
from detrojan.randomness import Seeds

BATCH = 256
CLEAN, TRIGGERED = 400, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Places (N, 2) of test samples, near each other where the network takes them for alike.

    `labels` (N,) are the true ones; `triggered` (N,) says which samples carry the trigger.
    """

    places: Tensor
    labels: Tensor
    triggered: Tensor


def chart(
    model: nn.Module,
    test: Samples,
    triggered: Triggered,
    *,
    preprocessing: Preprocessing,
    device: str = "auto",
    seed: int = 0,
) -> Chart:
    """Draw a few test samples, with and without the trigger, and map their features to the plane by t-SNE.

    Raises:
        Unsupported: the network has no linear layer, or it says nothing of single samples.
    """
    generator = Seeds(seed=seed).generator("chart")
    plain = test.subset(torch.randperm(len(test), generator=generator)[:CLEAN])
    stamped = triggered.samples.subset(torch.randperm(len(triggered.samples), generator=generator)[:TRIGGERED])
    found = [features(model, part, preprocessing=preprocessing, device=device) for part in (plain, stamped)]
    places = TSNE(random_state=seed, perplexity=min(30.0, (len(plain) + len(stamped)) / 4)).fit_transform(
        torch.cat(found).numpy()
    )
    return Chart(
        places=torch.from_numpy(places),
        labels=torch.cat([plain.labels, stamped.labels]),
        triggered=torch.arange(len(places)) >= len(plain),
    )


def features(model: nn.Module, samples: Samples, *, preprocessing: Preprocessing, device: str = "auto") -> Tensor:
    """What goes into the last linear layer, (N, F) in fp32; the model is not changed.

    Raises:
        Unsupported: the network has no linear layer, or it says nothing of single samples.
    """
    execution = Execution.choose(model, device)
    network = execution.place(copy.deepcopy(model)).eval()
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise Unsupported(f"{type(model).__name__} has no linear layer whose inputs could be shown")
    seen: list[Tensor] = []
    linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu()))
    with torch.no_grad():
        for part in samples.inputs.split(BATCH):
            execution.run(network, preprocessing(part.to(execution.device)))
    found = torch.cat(seen).flatten(1) if seen else torch.empty(0, 0)
    if len(found) != len(samples):
        raise Unsupported(f"the last linear layer of {type(model).__name__} does not see one input for each sample")
    return found
