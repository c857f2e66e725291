"""Rules of the passes: LoRA, QLoRA, the merge, the builder and what it takes the place of."""

from __future__ import annotations

from .rule import Kind, Rule, Verdict
from .rules_training import TRAINING_RULES

__all__ = [
    "BUILD_RULES",
    "CONVERT_RULES",
    "EXPORT_RULES",
    "LORA_RULES",
    "MERGE_RULES",
    "QLORA_RULES",
]

_HONOURED, _MAPPED, _REFUSED = Verdict

_EVERY_PASS = (
    Rule(field="type", verdict=_HONOURED, says="the step", kind=Kind.TEXT),
    Rule(
        field="disable_search",
        verdict=_MAPPED,
        says="a configuration runs as given, unless --search opens it",
        kind=Kind.FLAG,
    ),
    Rule(
        field="evaluator",
        verdict=_MAPPED,
        says="what is built is always scored and timed",
        kind=Kind.TEXT,
    ),
    *(
        Rule(field=name, verdict=_MAPPED, says="the store keeps what a step made, by its content")
        for name in ("clean_run_cache", "output_name")
    ),
    Rule(
        field="host",
        verdict=_REFUSED,
        says="all steps run in one place; name it in engine.host",
        kind=Kind.TEXT,
    ),
)

_OWN_TYPE = "training takes the data type that the device is fast in, and says which"
_SPEED = "changes speed and memory, not the result; ours are chosen for the device"

LORA_RULES = (
    *_EVERY_PASS,
    Rule(field="r", verdict=_HONOURED, says="rank", kind=Kind.WHOLE, older=("lora_r",)),
    Rule(
        field="alpha",
        verdict=_HONOURED,
        says="kept as its ratio to the rank",
        kind=Kind.NUMBER,
        older=("lora_alpha",),
    ),
    Rule(field="lora_dropout", verdict=_HONOURED, says="of the adapter", kind=Kind.NUMBER),
    Rule(
        field="target_modules",
        verdict=_HONOURED,
        says="layers with an adapter; another architecture's names stand for what they compute",
        kind=Kind.WORDS,
    ),
    Rule(
        field="bias",
        verdict=_HONOURED,
        says="biases are not trained",
        kind=Kind.TEXT,
        allowed=("none",),
        otherwise="biases are not trained; use 'none'",
    ),
    Rule(
        field="modules_to_save",
        verdict=_REFUSED,
        says="only adapters are trained; leave it out",
    ),
    Rule(
        field="use_rslora",
        verdict=_HONOURED,
        says="the adapter is scaled by alpha / sqrt(r)",
        kind=Kind.FLAG,
    ),
    Rule(field="torch_dtype", verdict=_MAPPED, says=_OWN_TYPE),
    *(
        Rule(field=name, verdict=_MAPPED, says=_SPEED)
        for name in ("allow_tf32", "device_map", "ephemeral_gpu_offload")
    ),
    Rule(
        field="train_data_config",
        verdict=_HONOURED,
        says="which data configuration is trained on",
        kind=Kind.TEXT,
    ),
    Rule(
        field="eval_data_config",
        verdict=_HONOURED,
        says="its file is the validation split",
        kind=Kind.TEXT,
    ),
    Rule(
        field="eval_dataset_size",
        verdict=_HONOURED,
        says="share of the distinct prompts kept from training, half of it for validation and"
        " half for the test at the end",
        kind=Kind.NUMBER,
    ),
    Rule(
        field="use_ort_trainer",
        verdict=_MAPPED,
        says="training runs on torch",
        kind=Kind.FLAG,
        allowed=(False,),
        otherwise="training runs on torch; leave it out",
    ),
    Rule(
        field="ortmodule_onnx_opset_version",
        verdict=_MAPPED,
        says="training runs on torch",
    ),
    Rule(
        field="double_quant",
        verdict=_MAPPED,
        says="nothing is quantised while training with LoRA, here as in Olive; for a 4-bit base"
        " use the type QLoRA",
        kind=Kind.FLAG,
    ),
    *(
        Rule(
            field=f"training_args.{rule.field}",
            verdict=rule.verdict,
            says=rule.says,
            kind=rule.kind,
            older=tuple(f"training_args.{name}" for name in rule.older),
            allowed=rule.allowed,
            otherwise=rule.otherwise,
        )
        for rule in TRAINING_RULES
    ),
)

QLORA_RULES = (
    *(rule for rule in LORA_RULES if rule.field != "double_quant"),
    Rule(
        field="double_quant",
        verdict=_HONOURED,
        says="the scales of the 4-bit base are quantised too",
        kind=Kind.FLAG,
    ),
    Rule(
        field="quant_type",
        verdict=_HONOURED,
        says="of the 4-bit base",
        kind=Kind.TEXT,
        allowed=("nf4",),
        otherwise="the 4-bit base is in nf4",
    ),
    Rule(field="compute_dtype", verdict=_MAPPED, says=_OWN_TYPE),
)

MERGE_RULES = _EVERY_PASS

_PRECISION = Rule(
    field="precision",
    verdict=_HONOURED,
    says="data type of the built weights",
    kind=Kind.TEXT,
    allowed=("fp32", "fp16", "bf16", "int8", "int4"),
)
_GENERATION = Rule(
    field="search",
    verdict=_MAPPED,
    says="an answer ends by the task's rule; the built model keeps the builder's own limits",
)
_ONE_FILE = "the builder writes graph and weights as the runtime reads them"

BUILD_RULES = (
    *_EVERY_PASS,
    _PRECISION,
    Rule(
        field="int4_block_size",
        verdict=_HONOURED,
        says="weights per scale",
        kind=Kind.WHOLE,
        allowed=(16, 32, 64, 128, 256),
        older=("block_size",),
    ),
    Rule(
        field="int4_accuracy_level",
        verdict=_HONOURED,
        says="data type of quantised products",
        kind=Kind.WHOLE,
        allowed=(0, 1, 2, 3, 4),
    ),
    Rule(
        field="int4_algo_config",
        verdict=_HONOURED,
        says="how weights are rounded",
        kind=Kind.TEXT,
        allowed=("default", "rtn", "rtn_last", "k_quant", "k_quant_last", "k_quant_mixed"),
    ),
    Rule(
        field="int4_is_symmetric",
        verdict=_HONOURED,
        says="whether blocks store where their zero is",
        kind=Kind.FLAG,
    ),
    Rule(
        field="int4_op_types_to_quantize",
        verdict=_HONOURED,
        says="matrix products, as here",
        kind=Kind.WORDS,
        allowed=(("MatMul",),),
        otherwise="matrix products are quantised and nothing else; leave it out",
    ),
    Rule(
        field="enable_cuda_graph",
        verdict=_HONOURED,
        says="kernels of a token are recorded and replayed",
        kind=Kind.FLAG,
    ),
    _GENERATION,
    *(
        Rule(
            field=name,
            verdict=_MAPPED,
            says="the whole model is built",
            kind=Kind.FLAG,
            allowed=(False,),
            otherwise="the whole model is built, or it could not be run; leave it out",
        )
        for name in ("exclude_embeds", "exclude_lm_head", "metadata_only")
    ),
    *(
        Rule(field=name, verdict=_MAPPED, says=_ONE_FILE)
        for name in ("save_as_external_data", "all_tensors_to_one_file", "external_data_name")
    ),
    *(
        Rule(
            field=name,
            verdict=_REFUSED,
            says="the capability table has no such recipe; leave it out",
        )
        for name in ("int4_nodes_to_exclude", "extra_options", "use_qdq")
    ),
)

_BUILDER = "the builder of onnxruntime-genai takes the place of the exporter"

CONVERT_RULES = (
    *_EVERY_PASS,
    Rule(
        field="merge_adapter_weights",
        verdict=_HONOURED,
        says="the adapter is merged before the build",
        kind=Kind.FLAG,
    ),
    Rule(
        field="torch_dtype",
        verdict=_HONOURED,
        says="data type of the built weights, where no later pass names one",
        kind=Kind.TEXT,
        allowed=("float32", "float16", "bfloat16"),
    ),
    *(
        Rule(field=name, verdict=_MAPPED, says=_BUILDER)
        for name in ("use_dynamo_exporter", "target_opset", "device", "parallel_jobs")
    ),
    *(
        Rule(field=name, verdict=_MAPPED, says=_ONE_FILE)
        for name in (
            "save_as_external_data",
            "all_tensors_to_one_file",
            "external_data_name",
            "save_metadata_for_token_generation",
        )
    ),
)

EXPORT_RULES = (
    *_EVERY_PASS,
    _PRECISION,
    Rule(
        field="metadata_only",
        verdict=_MAPPED,
        says="the builder writes the graph together with what the runtime needs to know of it",
        kind=Kind.FLAG,
    ),
    _GENERATION,
)
