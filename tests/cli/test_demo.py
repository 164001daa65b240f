from detrojan import checkpoint


def test_the_demo_tells_the_whole_story(detrojan, tmp_path):
    out = tmp_path / "demo"
    outcome = detrojan("demo", "--out", out, "--json")
    assert outcome.code == 0
    document = outcome.document
    assert document["victim"]["acc"]["value"] >= 0.95
    assert document["victim"]["asr"]["value"] >= 0.95
    assert [row["clean_per_class"] for row in document["purified"]] == [1, 10, 50]
    assert all(row["accepted"] for row in document["purified"])
    assert all(row["asr"]["value"] < document["victim"]["asr"]["value"] for row in document["purified"])
    assert "50 a class" in (out / "report.html").read_text()
    assert checkpoint.describe(out / "purified.safetensors").num_classes == 10
    again = detrojan("demo", "--out", out)
    assert again.code == 2
    assert "--force" in again.err
    assert again.out == ""
