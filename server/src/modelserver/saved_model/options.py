"""SavedModelOptions: how SavedModels are loaded and run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Self, cast

from modelserver.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class SavedModelOptions:
    """Settings for every SavedModel of the process. Zeros leave the choice to TensorFlow."""

    saved_model_tags: tuple[str, ...] = ("serve",)
    """Names the MetaGraph to load: the one with exactly these tags."""
    intra_op_parallelism: int = 0
    """Threads that one operation may use. All models share them: TensorFlow makes the pool once."""
    inter_op_parallelism: int = 0
    """Threads that run independent operations of one call. 0 and 1 run each call in the thread that
    makes it, which is the fastest for all but very wide graphs."""
    per_process_gpu_memory_fraction: float = 0.0
    """The most that this process takes of each GPU's memory, 0 = no limit. Memory is taken as it is
    needed, with or without a limit."""
    allow_freezing: bool = False
    """Whether the variables of small, stateless models become constants: slower to load, faster to
    run where convolutions dominate."""
    enable_model_warmup: bool = True
    """Whether a model is called with made-up inputs before it is AVAILABLE."""
    warmup_batch_sizes: tuple[int, ...] = ()
    """The batch sizes to warm up; none means size 1."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.per_process_gpu_memory_fraction <= 1.0:
            raise InvalidArgumentError(
                "per_process_gpu_memory_fraction must be between 0 and 1, got "
                f"{self.per_process_gpu_memory_fraction}"
            )

    @classmethod
    def from_mapping(cls, options: Mapping[str, object]) -> Self:
        """Pick the known names out of a platform's options. Tags may come as `"serve,gpu"`."""
        known = {field.name: options[field.name] for field in fields(cls) if field.name in options}
        if isinstance(tags := known.get("saved_model_tags"), str):
            known["saved_model_tags"] = tags.split(",")
        for name in ("saved_model_tags", "warmup_batch_sizes"):
            if name in known:
                known[name] = tuple(cast(Iterable[object], known[name]))
        return cls(**known)  # type: ignore[arg-type]  # each platform option has its field's type
