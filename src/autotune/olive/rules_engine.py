"""Rules of systems and of the engine, its search strategy included."""

from __future__ import annotations

from .rule import Kind, Rule, Verdict

__all__ = ["ENGINE_RULES", "SYSTEM_RULES"]

_HONOURED, _MAPPED, _REFUSED = Verdict
_JOB = "part of the Azure ML job"

SYSTEM_RULES = (
    Rule(
        field="type",
        verdict=_HONOURED,
        says="this machine, another interpreter of it, or an Azure ML job",
        kind=Kind.TEXT,
        allowed=("LocalSystem", "PythonEnvironment", "AzureML"),
        otherwise="a run is on this machine (LocalSystem, PythonEnvironment) or on AzureML",
    ),
    Rule(
        field="accelerators.device",
        verdict=_HONOURED,
        says="has to be one that the execution provider runs on",
        kind=Kind.TEXT,
        allowed=("cpu", "gpu"),
        otherwise="no recipe for such a device is proven; use cpu or gpu",
    ),
    Rule(
        field="accelerators.execution_providers",
        verdict=_HONOURED,
        says="the target; a device without provider is CPU or CUDA",
        kind=Kind.WORDS,
    ),
    Rule(
        field="accelerators.memory",
        verdict=_MAPPED,
        says="memory is measured; bound it with --constraint 'memory<=4GB'",
    ),
    Rule(
        field="python_environment_path",
        verdict=_HONOURED,
        says="its interpreter runs what is built (the target NAME@INTERPRETER)",
        kind=Kind.TEXT,
    ),
    *(
        Rule(field=name, verdict=_REFUSED, says="set it in the shell that starts autotune")
        for name in ("environment_variables", "prepend_to_path")
    ),
    *(
        Rule(field=name, verdict=_REFUSED, says="an environment is made with pip, not by a run")
        for name in ("olive_managed_env", "requirements_file")
    ),
    Rule(
        field="hf_token",
        verdict=_MAPPED,
        says="your own login of the hub (hf auth login); in an Azure ML job a secret of the key"
        " vault, by name",
        allowed=(True, False),
        otherwise="a token in a file is read by everyone who reads the file; write true and log"
        " in with hf auth login",
        is_secret=True,
    ),
    Rule(field="aml_compute", verdict=_HONOURED, says=_JOB, kind=Kind.TEXT, is_azure=True),
    Rule(field="docker.base_image", verdict=_HONOURED, says=_JOB, kind=Kind.TEXT, is_azure=True),
    Rule(
        field="docker.conda_file_path",
        verdict=_HONOURED,
        says="environment of the job; one that autotune does not run in is replaced, and said so",
        kind=Kind.TEXT,
        is_azure=True,
    ),
    *(
        Rule(
            field=f"docker.{name}",
            verdict=_REFUSED,
            says="the image of a job is base_image with conda_file_path",
        )
        for name in ("dockerfile", "build_context_path", "build_args", "name", "version")
    ),
    Rule(
        field="instance_count",
        verdict=_HONOURED,
        says="one machine",
        kind=Kind.WHOLE,
        allowed=(1,),
        otherwise="a run has one machine",
    ),
    Rule(
        field="is_dev",
        verdict=_MAPPED,
        says="the job runs this version of autotune",
        kind=Kind.FLAG,
    ),
    Rule(field="tags", verdict=_HONOURED, says=_JOB, is_azure=True),
    Rule(field="resources", verdict=_REFUSED, says="the compute decides; leave it out"),
)

_KEPT = "every message is kept in logs/ of the run's folder"
_NO_STALE = "the store is keyed by content, so nothing in it is ever stale"
_STRATEGY = "order and number of steps are the planner's, by what each costs"

ENGINE_RULES = (
    Rule(
        field="host",
        verdict=_HONOURED,
        says="the system of that name; has to be the target's",
        kind=Kind.TEXT,
    ),
    Rule(field="target", verdict=_HONOURED, says="the system of that name", kind=Kind.TEXT),
    Rule(
        field="execution_providers",
        verdict=_HONOURED,
        says="has to agree with the system's",
        kind=Kind.WORDS,
    ),
    Rule(
        field="output_dir",
        verdict=_HONOURED,
        says="folder of the run, which must not exist; --output goes before",
        kind=Kind.TEXT,
    ),
    Rule(
        field="cache_dir",
        verdict=_MAPPED,
        says="the store of all runs (AUTOTUNE_CACHE) keeps what is made",
        kind=Kind.TEXT,
    ),
    Rule(
        field="search_strategy",
        verdict=_HONOURED,
        says="false runs the steps as given; true opens their values to the search",
        kind=Kind.FLAG,
    ),
    Rule(
        field="search_strategy.sampler",
        verdict=_HONOURED,
        says="sequential is the grid here",
        kind=Kind.TEXT,
        older=("search_strategy.search_algorithm",),
        allowed=("tpe", "random", "sequential"),
        otherwise="the samplers are tpe, random and sequential",
    ),
    Rule(
        field="search_strategy.max_samples",
        verdict=_HONOURED,
        says="trained models scored at most",
        kind=Kind.WHOLE,
        older=(
            "search_strategy.max_iter",
            "search_strategy.sampler_config.max_samples",
            "search_strategy.search_algorithm_config.num_samples",
        ),
    ),
    Rule(
        field="search_strategy.max_time",
        verdict=_HONOURED,
        says="wall time in seconds",
        kind=Kind.NUMBER,
    ),
    *(
        Rule(field=f"search_strategy.{name}", verdict=_MAPPED, says=_STRATEGY)
        for name in (
            *("execution_order", "stop_when_goals_met", "include_pass_params"),
            *("output_model_num", "seed", "sampler_config.seed", "search_algorithm_config.seed"),
        )
    ),
    *(
        Rule(field=name, verdict=_MAPPED, says=_KEPT)
        for name in (
            *("log_severity_level", "log_to_file", "ort_log_severity_level"),
            "ort_py_log_severity_level",
        )
    ),
    *(
        Rule(field=name, verdict=_MAPPED, says=_NO_STALE)
        for name in ("clean_cache", "clean_evaluation_cache")
    ),
    *(
        Rule(
            field=name,
            verdict=_MAPPED,
            says="what is built is always scored and timed, and"
            " so is the model before its training",
        )
        for name in ("evaluate_input_model", "evaluator")
    ),
    Rule(
        field="plot_pareto_frontier",
        verdict=_MAPPED,
        says="the front stands in report.json",
        kind=Kind.FLAG,
    ),
    Rule(
        field="output_name",
        verdict=_MAPPED,
        says="a run is called by its folder",
        kind=Kind.TEXT,
    ),
    *(
        Rule(field=name, verdict=_REFUSED, says="the folder model/ of a run is what is handed over")
        for name in ("packaging_config", "no_artifacts")
    ),
)
