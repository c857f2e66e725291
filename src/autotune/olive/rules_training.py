"""Rules of ``training_args``, the fields of transformers' TrainingArguments."""

from __future__ import annotations

from .rule import Kind, Rule, Verdict

__all__ = ["TRAINING_RULES"]

_HONOURED, _MAPPED, _REFUSED = Verdict

_LOGGED = "the loss of every step is kept; validation rows are scored at the end"
_CHECKPOINTS = "checkpoints are kept in the store (AUTOTUNE_CACHE)"
_OWN_TYPE = "training takes the data type that the device is fast in, and says which"
_SPEED = "changes speed and memory, not the result; ours are chosen for the device"
_ADAMW = (
    *("adamw_torch", "adamw_torch_fused", "adamw_hf"),
    *("paged_adamw_32bit", "paged_adamw_8bit", "adamw_bnb_8bit"),
)

TRAINING_RULES = (
    Rule(
        field="seed",
        verdict=_HONOURED,
        says="of the split, the initialisation and the order",
        kind=Kind.WHOLE,
    ),
    Rule(field="data_seed", verdict=_MAPPED, says="the order of the rows follows seed"),
    Rule(
        field="per_device_train_batch_size",
        verdict=_HONOURED,
        says="sequences of a step, times gradient_accumulation_steps",
        kind=Kind.WHOLE,
    ),
    Rule(
        field="gradient_accumulation_steps",
        verdict=_HONOURED,
        says="sequences of a step, times per_device_train_batch_size",
        kind=Kind.WHOLE,
    ),
    Rule(
        field="max_steps",
        verdict=_HONOURED,
        says="steps of the training; num_train_epochs gives way to it",
        kind=Kind.WHOLE,
    ),
    Rule(
        field="num_train_epochs",
        verdict=_HONOURED,
        says="passes over the sequences, where there is no max_steps",
        kind=Kind.NUMBER,
    ),
    Rule(field="learning_rate", verdict=_HONOURED, says="the peak", kind=Kind.NUMBER),
    Rule(field="weight_decay", verdict=_HONOURED, says="AdamW's", kind=Kind.NUMBER),
    Rule(
        field="lr_scheduler_type",
        verdict=_HONOURED,
        says="cosine and linear end at a tenth of the peak here",
        kind=Kind.TEXT,
        allowed=("constant", "constant_with_warmup", "cosine", "linear"),
        otherwise="the learning rate is constant, or falls along a cosine or a line",
    ),
    Rule(
        field="warmup_ratio",
        verdict=_HONOURED,
        says="share of the steps with a rising rate",
        kind=Kind.NUMBER,
    ),
    Rule(
        field="warmup_steps",
        verdict=_HONOURED,
        says="steps with a rising rate; needs max_steps",
        kind=Kind.WHOLE,
    ),
    Rule(
        field="max_grad_norm",
        verdict=_HONOURED,
        says="gradients are scaled down to this norm; 0 leaves them",
        kind=Kind.NUMBER,
    ),
    Rule(
        field="optim",
        verdict=_MAPPED,
        says="AdamW with float32 moments",
        kind=Kind.TEXT,
        allowed=_ADAMW,
        otherwise="adapters are trained with AdamW",
    ),
    *(
        Rule(
            field=name,
            verdict=_HONOURED,
            says="AdamW's, as here",
            kind=Kind.NUMBER,
            allowed=(value,),
            otherwise=f"AdamW has {value:g} here; leave it out",
        )
        for name, value in (("adam_beta1", 0.9), ("adam_beta2", 0.999), ("adam_epsilon", 1e-8))
    ),
    Rule(
        field="group_by_length",
        verdict=_MAPPED,
        says="sequences of similar length always share a batch",
        kind=Kind.FLAG,
    ),
    *(
        Rule(field=name, verdict=_MAPPED, says=_LOGGED)
        for name in (
            *("logging_steps", "logging_strategy", "logging_dir", "logging_first_step"),
            *("eval_steps", "per_device_eval_batch_size", "disable_tqdm"),
        )
    ),
    Rule(field="eval_strategy", verdict=_MAPPED, says=_LOGGED, older=("evaluation_strategy",)),
    *(
        Rule(field=name, verdict=_MAPPED, says=_CHECKPOINTS)
        for name in (
            "output_dir",
            "overwrite_output_dir",
            "save_strategy",
            "save_steps",
            "save_total_limit",
        )
    ),
    *(
        Rule(field=name, verdict=_MAPPED, says=_SPEED)
        for name in (
            "gradient_checkpointing",
            "gradient_checkpointing_kwargs",
            "tf32",
            "dataloader_num_workers",
            "dataloader_pin_memory",
            "remove_unused_columns",
        )
    ),
    *(Rule(field=name, verdict=_MAPPED, says=_OWN_TYPE) for name in ("bf16", "fp16")),
    Rule(
        field="report_to",
        verdict=_MAPPED,
        says="nothing is reported to anyone",
        kind=Kind.WORDS,
        allowed=(("none",), ()),
        otherwise="nothing is reported to a service; leave it out",
    ),
    Rule(
        field="label_smoothing_factor",
        verdict=_HONOURED,
        says="none, as here",
        kind=Kind.NUMBER,
        allowed=(0.0,),
        otherwise="the loss is the plain cross entropy; leave it out",
    ),
    Rule(
        field="load_best_model_at_end",
        verdict=_MAPPED,
        says="the end of the training is taken",
        kind=Kind.FLAG,
        allowed=(False,),
        otherwise="the end of the training is taken; leave it out",
    ),
    Rule(
        field="resume_from_checkpoint",
        verdict=_REFUSED,
        says="a run goes on with: autotune resume RUN",
    ),
    *(
        Rule(field=name, verdict=_REFUSED, says="a training has one device here")
        for name in ("deepspeed", "fsdp", "fsdp_config", "ddp_backend")
    ),
    Rule(field="neftune_noise_alpha", verdict=_REFUSED, says="embeddings get no noise"),
)
