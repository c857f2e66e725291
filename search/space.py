"""Which adapter configs may be tried: a typed space that lists, samples and names its dimensions.

What has one choice only is fixed and not shown to the sampler. A config and the
parameters of its trial hold the very same numbers, so that a study rebuilt from
configs proposes what the first one did.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any, Self

from autotune.candidate import AdapterConfig, MergeBase, Method, Schedule
from autotune.errors import UsageError

from .dimensions import Choice, Dimension, LogRange, Suggests, Value, distance

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["QAT", "SearchSpace"]

_CHANGED = 1 / 3
QAT: Method = "qat-lora"


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Adapter configs as a product of dimensions.

    Attributes:
        methods: ``lora``, ``qlora``, ``qat-lora``.
        ranks: LoRA ranks.
        alpha_ratios: lora_alpha / rank; one value, since alpha moves with the learning rate.
        learning_rate: (low, high) of a log-uniform range; the default suits models
            of up to 3 billion weights.
        learning_rates: if not empty, only these instead of the range.
        epochs: passes over the data of a full training; fidelity is not a dimension.
        batch_sizes: examples per optimiser step.
        target_modules: layers that get an adapter.
        merge_bases: for qlora only.
        quantisers: for qat-lora, which needs at least one.
        layers: decoder layers of the model that is trained; None is all of them.
        warmup, dropout, weight_decay, seed, rslora, schedule, steps, clip_norm: the same for
            every config; ``double_quant`` for every one of qlora.
        listed: if not empty, the only combinations that may be tried (a recorded table);
            the dimensions have to hold all of them.
    """

    methods: tuple[Method, ...] = ("lora",)
    ranks: tuple[int, ...] = (8, 16, 32, 64)
    alpha_ratios: tuple[float, ...] = (2.0,)
    learning_rate: tuple[float, float] = (5e-5, 2e-3)
    learning_rates: tuple[float, ...] = ()
    epochs: tuple[float, ...] = (3.0,)
    batch_sizes: tuple[int, ...] = (16,)
    target_modules: tuple[str, ...] = ("all-linear",)
    merge_bases: tuple[MergeBase, ...] = ("dequantized",)
    quantisers: tuple[str, ...] = ()
    layers: tuple[int | None, ...] = (None,)
    warmup: float = 0.05
    dropout: float = 0.0
    weight_decay: float = 0.0
    seed: int = 0
    rslora: bool = False
    double_quant: bool = True
    schedule: Schedule = "cosine"
    steps: int | None = None
    clip_norm: float | None = 1.0
    listed: tuple[AdapterConfig, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.learning_rate
        if not 0 < low < high < math.inf:
            raise UsageError(
                f"learning_rate needs 0 < low < high, got {self.learning_rate!r};"
                " for single values use learning_rates."
            )
        if bool(self.quantisers) != (QAT in self.methods):
            raise UsageError(
                f"Method {QAT!r} needs quantisers and no other method has any, got methods"
                f" {self.methods!r} with quantisers {self.quantisers!r}."
            )
        for dimension in self.all_dimensions():
            if isinstance(dimension, Choice) and (
                not dimension.choices or len(set(dimension.choices)) != len(dimension.choices)
            ):
                raise UsageError(
                    f"{dimension.name} needs distinct choices, got {dimension.choices!r}."
                )
        for config in self.listed:
            self._check_values(config)

    @classmethod
    def only(cls, config: AdapterConfig) -> Self:
        """Return the space that ``config`` is all of."""
        space = cls(
            methods=(config.method,),
            ranks=(config.rank,),
            alpha_ratios=(config.alpha_ratio,),
            learning_rates=(config.learning_rate,),
            epochs=(config.epochs,),
            batch_sizes=(config.batch_size,),
            target_modules=(config.target_modules,),
            merge_bases=(config.merge_base,),
            quantisers=() if config.quantiser is None else (config.quantiser,),
            layers=(config.layers,),
            warmup=config.warmup,
            dropout=config.dropout,
            weight_decay=config.weight_decay,
            seed=config.seed,
            rslora=config.rslora,
            double_quant=config.double_quant,
            schedule=config.schedule,
            steps=config.steps,
            clip_norm=config.clip_norm,
        )
        space.check(config)
        return space

    def all_dimensions(self) -> tuple[Dimension, ...]:
        """Return every dimension, those with a single choice included."""
        rate: Dimension = LogRange(
            name="learning_rate", low=self.learning_rate[0], high=self.learning_rate[1]
        )
        if self.learning_rates:
            rate = Choice(name="learning_rate", choices=self.learning_rates)
        quantiser = Choice(name="quantiser", choices=self.quantisers, when=("method", QAT))
        return (
            Choice(name="method", choices=self.methods),
            *((quantiser,) if self.quantisers else ()),
            Choice(name="layers", choices=self.layers),
            rate,
            Choice(name="rank", choices=self.ranks),
            Choice(name="alpha_ratio", choices=self.alpha_ratios),
            Choice(name="epochs", choices=self.epochs),
            Choice(name="batch_size", choices=self.batch_sizes),
            Choice(name="target_modules", choices=self.target_modules),
            Choice(name="merge_base", choices=self.merge_bases, when=("method", "qlora")),
        )

    def dimensions(self) -> tuple[Dimension, ...]:
        """Return what a sampler sees: dimensions with more than one value."""
        return tuple(
            dimension
            for dimension in self.all_dimensions()
            if isinstance(dimension, LogRange) or len(dimension.choices) > 1
        )

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return what ``suggest`` asks an Optuna trial for, by dimension."""
        from optuna import distributions  # noqa: PLC0415 - heavy

        return {
            dimension.name: distributions.FloatDistribution(dimension.low, dimension.high, log=True)
            if isinstance(dimension, LogRange)
            else distributions.CategoricalDistribution(dimension.choices)
            for dimension in self.dimensions()
        }

    def suggest(self, trial: Suggests) -> AdapterConfig:
        """Return the config that an Optuna trial picks."""
        params: dict[str, Value] = {"method": self.methods[0]}
        for dimension in self.dimensions():
            if self._is_active(dimension, params):
                params[dimension.name] = dimension.suggest(trial)
        return self.from_params(params)

    def draw(self, seed: int) -> AdapterConfig:
        """Return a config drawn evenly; the same seed gives the same config."""
        random = Random(seed)  # noqa: S311 - proposals, no secrets
        if self.listed:
            return random.choice(self.listed)
        params = {dimension.name: dimension.draw(random) for dimension in self.dimensions()}
        return self.from_params(params)

    def near(self, config: AdapterConfig, seed: int) -> AdapterConfig:
        """Return a config drawn close to ``config``; in a finite space ``config`` itself.

        Ranges move by a sixth of their length (one standard deviation); of the choices
        one in three is drawn anew.
        """
        if self.size is not None:
            return config
        random = Random(seed)  # noqa: S311 - proposals, no secrets
        params = self.to_params(config)
        for dimension in self.dimensions():
            if isinstance(dimension, LogRange):
                value = getattr(config, dimension.name)
                params[dimension.name] = dimension.near(value, random)
            elif random.random() < _CHANGED:
                params[dimension.name] = dimension.draw(random)
        return self.from_params(params)

    def grid(self) -> Iterator[AdapterConfig]:
        """Yield every combination once; ranges give five values from end to end."""
        if self.listed:
            yield from self.listed
            return
        seen: set[AdapterConfig] = set()
        dimensions = self.dimensions()
        for values in itertools.product(*(dimension.grid() for dimension in dimensions)):
            names = (dimension.name for dimension in dimensions)
            config = self.from_params(dict(zip(names, values, strict=True)))
            if config not in seen:
                seen.add(config)
                yield config

    def with_quantisers(self, quantisers: tuple[str, ...]) -> Self:
        """Return the same with other quantisers in the loop; without any, without the method."""
        methods = self.methods
        if not quantisers:
            methods = tuple(method for method in methods if method != QAT) or ("lora",)
        return replace(self, methods=methods, quantisers=quantisers)

    @cached_property
    def without_levers(self) -> Self:
        """The part of this space at its first depth, without quantisers where it can do so."""
        methods = tuple(method for method in self.methods if method != QAT) or self.methods
        quantisers = self.quantisers[:1] if QAT in methods else ()
        listed = tuple(
            config
            for config in self.listed
            if config.method in methods
            and config.layers == self.layers[0]
            and config.quantiser in (None, *quantisers)
        )
        return replace(
            self, methods=methods, quantisers=quantisers, layers=self.layers[:1], listed=listed
        )

    @cached_property
    def size(self) -> int | None:
        """Number of different configs; None where a range makes them countless."""
        if not self.listed and any(isinstance(d, LogRange) for d in self.dimensions()):
            return None
        return sum(1 for _ in self.grid())

    def to_params(self, config: AdapterConfig) -> dict[str, Value]:
        """Return the values of ``config`` on the active dimensions, as Optuna keeps them."""
        return {
            dimension.name: getattr(config, dimension.name)
            for dimension in self.dimensions()
            if self._is_active(dimension, {"method": config.method})
        }

    def from_params(self, params: Mapping[str, Any]) -> AdapterConfig:
        """Return the config of ``params``; fixed dimensions are filled in, others ignored."""
        values = {
            dimension.name: params.get(dimension.name, dimension.grid()[0])
            for dimension in self.all_dimensions()
        }
        if values["method"] != "qlora":
            values["merge_base"] = "full"
        quantiser = values["quantiser"] if values["method"] == QAT else None
        return AdapterConfig(
            method=values["method"],
            rank=int(values["rank"]),
            alpha_ratio=float(values["alpha_ratio"]),
            learning_rate=float(values["learning_rate"]),
            epochs=float(values["epochs"]),
            batch_size=int(values["batch_size"]),
            target_modules=values["target_modules"],
            merge_base=values["merge_base"],
            quantiser=quantiser,
            layers=values["layers"],
            warmup=self.warmup,
            dropout=self.dropout,
            weight_decay=self.weight_decay,
            seed=self.seed,
            rslora=self.rslora,
            double_quant=self.double_quant or values["method"] != "qlora",
            schedule=self.schedule,
            steps=self.steps,
            clip_norm=self.clip_norm,
        )

    def check(self, config: AdapterConfig) -> None:
        """Raise if ``config`` is not in the space.

        Raises:
            UsageError: names the first value outside.
        """
        self._check_values(config)
        if not self.holds(config):
            raise UsageError(f"{config.name} is none of the {len(self.listed)} configs listed.")

    def holds(self, config: AdapterConfig) -> bool:
        """Whether a combination of values of this space may be tried."""
        return not self.listed or config in self._listed

    @cached_property
    def _listed(self) -> frozenset[AdapterConfig]:
        return frozenset(self.listed)

    def distance(self, one: AdapterConfig, two: AdapterConfig) -> float:
        """Return how far two configs are apart: 1 is another word, or an e-fold of a number."""
        return sum(distance(getattr(one, d.name), getattr(two, d.name)) for d in self.dimensions())

    def nearest(self, config: AdapterConfig) -> AdapterConfig:
        """Return ``config`` where it may be tried, else the closest that may."""
        if self.holds(config):
            return config
        return min(self.listed, key=lambda other: self.distance(config, other))

    def _check_values(self, config: AdapterConfig) -> None:
        for dimension in self.all_dimensions():
            value = getattr(config, dimension.name)
            if self._is_active(dimension, {"method": config.method}) and not dimension.holds(value):
                raise UsageError(
                    f"{dimension.name} {value!r} of {config.name} is not in {dimension!r}."
                )
        if self.from_params(self.to_params(config)) != config:
            raise UsageError(f"{config.name} differs from the space in a fixed value: {config!r}.")

    def _is_active(self, dimension: Dimension, params: Mapping[str, Value]) -> bool:
        if dimension.when is None:
            return True
        name, value = dimension.when
        return params[name] == value
