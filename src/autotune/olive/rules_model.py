"""Rules of the top level, the input model and the data configurations."""

from __future__ import annotations

from .rule import Kind, Rule, Verdict

__all__ = ["CLIENT_RULES", "DATA_RULES", "MODEL_RULES", "TOP_RULES"]

_HONOURED, _MAPPED, _REFUSED = Verdict
_JOB = "part of the Azure ML job"
_PLACE = "part of the Azure ML job; here, name a local file or folder in its place"

TOP_RULES = (
    Rule(field="$schema", verdict=_MAPPED, says="for editors; nothing is read from it"),
    Rule(
        field="workflow_id",
        verdict=_MAPPED,
        says="a run is called by its folder, and nothing of another run is overwritten",
    ),
    Rule(
        field="evaluators",
        verdict=_REFUSED,
        says="what is measured is fixed (accuracy, latency, memory, size); state goals as bounds,"
        " for example --constraint 'latency<=50ms'",
    ),
)

CLIENT_RULES = (
    *(
        Rule(field=name, verdict=_HONOURED, says=_JOB, kind=Kind.TEXT, is_azure=True)
        for name in ("subscription_id", "resource_group", "workspace_name")
    ),
    Rule(
        field="keyvault_name",
        verdict=_HONOURED,
        says="where an Azure ML job finds the token of the Hugging Face hub",
        kind=Kind.TEXT,
        is_azure=True,
    ),
    Rule(
        field="aml_config_path",
        verdict=_REFUSED,
        says="write subscription_id, resource_group and workspace_name out",
    ),
    *(
        Rule(field=name, verdict=_MAPPED, says="the SDK of Azure ML has its own pauses and tries")
        for name in ("read_timeout", "max_operation_retries", "operation_retry_interval")
    ),
    Rule(
        field="default_auth_params",
        verdict=_MAPPED,
        says="azure-identity finds your login; credentials are never read from a file",
    ),
)

_OWN_GRAPH = "the builder writes the graph from the model's own configuration"
_OWN_TYPE = "training takes the data type that the device is fast in, and says which"

MODEL_RULES = (
    Rule(
        field="type",
        verdict=_MAPPED,
        says="a model of Hugging Face's form",
        kind=Kind.TEXT,
        allowed=("HfModel", "PyTorchModel"),
        otherwise="autotune trains and builds models of Hugging Face's form (HfModel)",
    ),
    Rule(
        field="model_path",
        verdict=_HONOURED,
        says="the model: a folder (MLflow's layout included) or a hub id",
        kind=Kind.TEXT,
    ),
    Rule(
        field="model_name",
        verdict=_HONOURED,
        says="the model where model_path names none",
        kind=Kind.TEXT,
    ),
    Rule(
        field="model_path.type",
        verdict=_HONOURED,
        says=_PLACE,
        kind=Kind.TEXT,
        allowed=("azureml_registry_model", "azureml_model"),
        is_azure=True,
    ),
    *(
        Rule(field=f"model_path.{name}", verdict=_HONOURED, says=_PLACE, is_azure=True)
        for name in ("name", "registry_name", "version")
    ),
    Rule(
        field="model_file_format",
        verdict=_MAPPED,
        says="the layout is seen from the files",
        kind=Kind.TEXT,
        allowed=("PyTorch.MLflow", "PyTorch.EntireModel"),
        otherwise="a folder that transformers saved is needed",
    ),
    Rule(
        field="task",
        verdict=_MAPPED,
        says="text generation is what is trained",
        kind=Kind.TEXT,
        allowed=("text-generation", "text-generation-with-past"),
        otherwise="only models that generate text are trained and built",
    ),
    Rule(field="model_script", verdict=_MAPPED, says=f"not run: {_OWN_GRAPH}", kind=Kind.TEXT),
    Rule(field="script_dir", verdict=_MAPPED, says=f"not read: {_OWN_GRAPH}", kind=Kind.TEXT),
    *(
        Rule(field=name, verdict=_MAPPED, says=_OWN_GRAPH)
        for name in ("dummy_inputs_func", "io_config")
    ),
    Rule(
        field="load_kwargs.trust_remote_code",
        verdict=_HONOURED,
        says="code of the model's repository runs only with --trust-remote-code as well",
        kind=Kind.FLAG,
    ),
    Rule(
        field="load_kwargs.revision",
        verdict=_HONOURED,
        says="commit, branch or tag on the hub",
        kind=Kind.TEXT,
    ),
    Rule(
        field="load_kwargs.token",
        verdict=_MAPPED,
        says="your own login of the hub (hf auth login)",
        older=("load_kwargs.use_auth_token",),
        allowed=(True, False),
        otherwise="a token in a file is read by everyone who reads the file; write true and log"
        " in with hf auth login",
        is_secret=True,
    ),
    *(
        Rule(field=f"load_kwargs.{name}", verdict=_MAPPED, says=_OWN_TYPE)
        for name in ("torch_dtype", "dtype")
    ),
    *(
        Rule(
            field=f"load_kwargs.{name}",
            verdict=_MAPPED,
            says="loading is ours; it does not change what the model computes",
        )
        for name in (
            "device_map",
            "attn_implementation",
            "low_cpu_mem_usage",
            "use_safetensors",
            "max_memory",
        )
    ),
    *(
        Rule(
            field=f"load_kwargs.{name}",
            verdict=_REFUSED,
            says="training starts from whole weights; a pass of the type QLoRA has a 4-bit base",
        )
        for name in ("quantization_method", "quantization_config", "load_in_4bit", "load_in_8bit")
    ),
    Rule(
        field="adapter_path",
        verdict=_REFUSED,
        says="an adapter of another training is not gone on with; merge it first",
    ),
    *(
        Rule(field=name, verdict=_REFUSED, says="one model as it is saved is trained and built")
        for name in ("components", "dataset", "model_loader", "model_attributes", "mlflow_model")
    ),
)

_ROW = "a text becomes one row each; prompt and answer are told apart by the last field"

DATA_RULES = (
    Rule(field="name", verdict=_HONOURED, says="what passes call it by", kind=Kind.TEXT),
    Rule(
        field="type",
        verdict=_MAPPED,
        says="rows of a file or of a hub data set",
        kind=Kind.TEXT,
        allowed=("HuggingfaceContainer",),
        otherwise="rows come from a file or a hub data set (HuggingfaceContainer)",
    ),
    Rule(
        field="load.type",
        verdict=_MAPPED,
        says="rows of a file or of a hub data set",
        kind=Kind.TEXT,
        allowed=("huggingface_dataset", "local_dataset"),
        otherwise="rows come from a file or a hub data set",
    ),
    Rule(
        field="load.data_name",
        verdict=_HONOURED,
        says="json, csv, text or parquet read load.data_files; else a hub data set",
        kind=Kind.TEXT,
    ),
    Rule(
        field="load.data_files",
        verdict=_HONOURED,
        says="the file, looked for beside the configuration and then where you are",
        kind=Kind.WORDS,
    ),
    Rule(
        field="load.subset",
        verdict=_HONOURED,
        says="configuration of a hub data set",
        kind=Kind.TEXT,
        older=("load.name",),
    ),
    Rule(
        field="load.split",
        verdict=_HONOURED,
        says="rows to train on; other splits of a hub data set stay apart",
        kind=Kind.TEXT,
        allowed=("train",),
        otherwise="a training reads the split 'train'; save other rows to a file",
    ),
    Rule(
        field="load.trust_remote_code",
        verdict=_MAPPED,
        says="no code of a data set is run",
        kind=Kind.FLAG,
        allowed=(False,),
        otherwise="code of a data set is never run; save the rows to a file",
    ),
    Rule(
        field="load.data_files.type",
        verdict=_HONOURED,
        says=_PLACE,
        kind=Kind.TEXT,
        allowed=("azureml_datastore",),
        is_azure=True,
    ),
    *(
        Rule(field=f"load.data_files.{name}", verdict=_HONOURED, says=_PLACE, is_azure=True)
        for name in ("datastore_name", "relative_path", "datastore_url")
    ),
    *(
        Rule(
            field=f"load.data_files.azureml_client.{name}",
            verdict=_HONOURED,
            says="workspace of the datastore; it has to be that of the job",
            kind=Kind.TEXT,
            is_azure=True,
        )
        for name in ("subscription_id", "resource_group", "workspace_name")
    ),
    *(
        Rule(
            field=name,
            verdict=_REFUSED,
            says="code of yours does not read data here; save rows"
            " to a file and say in text_template how they become text",
            kind=Kind.TEXT,
        )
        for name in (
            "user_script",
            "script_dir",
            "pre_process.user_script",
            "pre_process.script_dir",
            "pre_process.text_formatting_func",
        )
    ),
    Rule(
        field="pre_process.type",
        verdict=_MAPPED,
        says="rows become text by text_template",
        kind=Kind.TEXT,
        allowed=("text_generation_huggingface_dataset",),
    ),
    Rule(
        field="pre_process.dataset_type",
        verdict=_MAPPED,
        says=_ROW,
        kind=Kind.TEXT,
        allowed=("corpus",),
        otherwise="rows are a corpus with a text_template; its last field is the answer",
    ),
    Rule(
        field="pre_process.text_template",
        verdict=_HONOURED,
        says="how a row becomes text; the last field and what follows is the answer",
        kind=Kind.TEXT,
    ),
    Rule(
        field="pre_process.text_cols",
        verdict=_HONOURED,
        says="columns, joined by a space where there is no text_template; the last is the answer",
        kind=Kind.WORDS,
    ),
    Rule(
        field="pre_process.strategy",
        verdict=_HONOURED,
        says="training sequences: the rows one after the other, or each its own; loss on every"
        " token",
        kind=Kind.TEXT,
        older=("pre_process.corpus_strategy",),
        allowed=("join", "line-by-line"),
        otherwise="sequences that are drawn at random or overlap are not made; use join",
    ),
    Rule(
        field="pre_process.max_seq_len",
        verdict=_HONOURED,
        says="tokens of a training sequence at most",
        kind=Kind.WHOLE,
        older=("pre_process.source_max_len",),
    ),
    *(
        Rule(
            field=f"pre_process.{name}",
            verdict=_MAPPED,
            says="sequences are padded to the longest of their batch, and padding is never seen",
        )
        for name in ("pad_to_max_len", "padding_side", "use_attention_mask")
    ),
    *(
        Rule(
            field=f"pre_process.{name}",
            verdict=_MAPPED,
            says="every row ends in the model's end-of-sequence token, with nothing in between",
        )
        for name in ("add_special_tokens", "joiner")
    ),
    Rule(
        field="pre_process.drop_short_sequences",
        verdict=_MAPPED,
        says="every row is trained on",
        kind=Kind.FLAG,
        allowed=(False,),
        otherwise="every row is trained on; leave it out",
    ),
    *(
        Rule(
            field=f"pre_process.{name}",
            verdict=_REFUSED,
            says="write the text of a row out as text_template; its last field is the answer",
        )
        for name in ("chat_template", "message_col")
    ),
    *(
        Rule(
            field=f"pre_process.{name}",
            verdict=_REFUSED,
            says="every row is used, in full; give a smaller file",
        )
        for name in ("max_samples", "stride", "random_seed", "random_retries")
    ),
    Rule(
        field="pre_process.processing_batch_size",
        verdict=_MAPPED,
        says="rows are read at once",
        kind=Kind.WHOLE,
    ),
    *(
        Rule(
            field=f"dataloader.{name}",
            verdict=_MAPPED,
            says="batches are those of the training arguments; requests are timed one by one",
        )
        for name in ("type", "batch_size", "shuffle")
    ),
    Rule(
        field="post_process.type",
        verdict=_MAPPED,
        says="answers are read by the rule that the deployed model uses",
        kind=Kind.TEXT,
    ),
)
