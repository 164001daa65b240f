import torch

from detrojan.evaluation.visibility import visibility


def test_norms_of_a_known_difference():
    clean = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    triggered = clean.clone()
    triggered[0, 0, 0, 0] -= 3
    triggered[0, 2, 0, 0] += 4
    triggered[0, 1, 3, 3] += 12
    seen = visibility(clean, triggered)
    assert seen.l_inf.tolist() == [12, 0]
    assert seen.l_2.tolist() == [13, 0]
    assert seen.changed.tolist() == [2 / 16, 0]


def test_differences_do_not_wrap_around():
    clean = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None]
    assert visibility(clean, 255 - clean).l_inf.tolist() == [255, 255]
