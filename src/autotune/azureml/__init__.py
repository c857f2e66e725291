"""Runs elsewhere: a command job of Azure ML, from its specification to its result.

One file a step: what is asked for (``request``), the job in the service's form
(``specification``, ``environment``, ``wheel``), what could be wrong with it (``checks``), the
workspace (``service``, ``storage``), waiting (``watching``), the result (``download``,
``manifest``) and the record by which a run is found again (``record``); ``flow`` joins them.
``job`` is the other side: what runs there.
"""

from .checks import check_specification, problems_of
from .environment import DISTRIBUTION, IMAGE, our_conda, read_conda, what_it_lacks
from .flow import RemoteRun, begin, plan_text
from .mlflow import model_inside
from .names import is_of_azure, problem_of_name
from .place import Place, Workspace, find_workspace, parse_place
from .record import JobRecord, is_remote
from .request import COMMAND, REQUEST, JobInput, JobRequest, input_of
from .service import JobState, Service, connect
from .specification import specification, write_code
from .wheel import PACKAGES, write_wheel

__all__ = [
    "COMMAND",
    "DISTRIBUTION",
    "IMAGE",
    "PACKAGES",
    "REQUEST",
    "JobInput",
    "JobRecord",
    "JobRequest",
    "JobState",
    "Place",
    "RemoteRun",
    "Service",
    "Workspace",
    "begin",
    "check_specification",
    "connect",
    "find_workspace",
    "input_of",
    "is_of_azure",
    "is_remote",
    "model_inside",
    "our_conda",
    "parse_place",
    "plan_text",
    "problem_of_name",
    "problems_of",
    "read_conda",
    "specification",
    "what_it_lacks",
    "write_code",
    "write_wheel",
]
