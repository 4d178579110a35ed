"""The recipe: one validated YAML file that names everything a run needs.

``key`` identifies the synthetic set, ``Plan.key`` a score of it. Neither changes with a default
that is left unwritten: only what differs from the defaults is hashed, so a field added later with
the old behaviour as its default orphans no result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from ddbench import datasets, methods, networks, plugins
from ddbench.datasets import DatasetFacts, DatasetSpec
from ddbench.errors import BadInput
from ddbench.features import FeatureSpec, budget
from ddbench.methods import Method, Selecting, TrainedOn
from ddbench.networks import Network, Shape
from ddbench.places import data_root
from ddbench.protocols import EvaluationSpec, Plan
from ddbench.recipe_checks import check_together
from ddbench.spec import Spec, dump_yaml, fingerprint

STAGES = ("experts", "distill", "label", "evaluate")
"""What a run is made of, in order; ``label`` is for methods that store labels per view."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_LEARNING_FIELDS = {
    "lambda_task", "optimizer", "lr", "momentum", "weight_decay", "match_params", "contrast",
}  # fmt: skip
"""Fields of F that change nothing where F stays as initialised."""
_LATER = {"correct": "an init of trajectory methods", "recipe": "another recipe's set"}


class InitSpec(Spec):
    """Where the images start."""

    from_: str = Field(alias="from", description="noise or real")

    @field_validator("from_")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("noise", "real"):
            later = _LATER.get(value.partition(":")[0])
            problem = f"'{value}' ({later}) is not built in this version" if later else (
                f"found '{value}'"
            )  # fmt: skip
            raise BadInput(problem, field="from", allowed="noise, real")
        return value


class Published(Spec):
    """The published number that a recipe reproduces, in percent."""

    accuracy: float = Field(ge=0, le=100)
    std: float | None = Field(None, ge=0)
    source: str


class Recipe(Spec):
    """A complete run. See docs/recipes.md for every field."""

    name: str
    dataset: DatasetSpec
    network: SerializeAsAny[Network] | None = Field(None, description="null = the dataset's")
    ipc: int = Field(ge=1, le=100_000, description="synthetic images per class")
    init: InitSpec | None = Field(None, description="where x starts; null = as the method does")
    method: SerializeAsAny[Method]
    features: FeatureSpec | None = Field(None, description="F; null = plain (x, y)")
    evaluation: EvaluationSpec = EvaluationSpec()
    seeds: list[int] = Field(default=[0], min_length=1)
    published: list[Published] = Field(default=[], description="the cell this reproduces")
    provenance: dict[str, str] = Field(
        default={}, description="field to source, for values that are not the paper's"
    )

    # --- validation ------------------------------------------------------------------------

    @model_validator(mode="before")
    @classmethod
    def _resolve_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if "sweep" in data:
            raise BadInput("is not built in this version; write one recipe per point",
                           field="sweep")  # fmt: skip
        if isinstance(data.get("dataset"), str):
            data["dataset"] = {"name": data["dataset"]}
        for field, resolve in (("method", methods.resolve), ("network", networks.resolve)):
            if data.get(field) is not None:
                try:
                    data[field] = resolve(data[field])
                except BadInput as error:
                    raise error.at(prefix=field) from None
        for field, block in (
            ("dataset", DatasetSpec), ("features", FeatureSpec), ("evaluation", EvaluationSpec),
            ("init", InitSpec),
        ):  # fmt: skip
            if isinstance(data.get(field), Mapping):
                data[field] = block.parse(data[field], field=field)
        return data

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise BadInput(f"found {value!r}", field="name",
                           allowed="lower-case letters, digits, - and _, up to 80")  # fmt: skip
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value) or min(value) < 0 or max(value) >= 2**32:
            raise BadInput(f"found {value}", field="seeds",
                           allowed="different integers from 0 to 4294967295")  # fmt: skip
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Recipe:
        check_together(self)
        return self

    # --- what follows from the fields ---------------------------------------------------------

    @property
    def facts(self) -> DatasetFacts:
        """Facts of the dataset; raises ``BadInput`` if a file dataset is not there."""
        try:
            return datasets.facts(self.dataset)
        except BadInput as error:
            raise error if error.field else error.at(prefix="dataset") from None
        except (OSError, RuntimeError) as error:
            raise BadInput(f"cannot be read ({error})", field="dataset.path") from None

    @property
    def net(self) -> Network:
        """The network that the set is made with."""
        return self.network or networks.resolve(self.facts.network.model_dump(exclude_none=True))

    @property
    def init_name(self) -> str | None:
        """Where x starts; None where the method gives x."""
        if self.init is not None:
            return self.init.from_
        return self.method.inits[0] if self.method.inits else None

    @property
    def takes_real_images(self) -> bool:
        """Whether the images are, or start as, real training images."""
        return self.init_name == "real" or isinstance(self.method, Selecting)

    @property
    def evaluated_networks(self) -> list[Network]:
        """Architectures of the evaluation."""
        return self.evaluation.networks or [self.net]

    @property
    def feature_network(self) -> Network:
        """The network whose map F labels."""
        name = self.features.init.network if self.features else None
        return networks.resolve(name) if name else self.net

    @property
    def feature_source(self) -> str | None:
        """``init`` or ``matching``, the default resolved; None without F."""
        if self.features is None:
            return None
        return self.features.source or ("matching" if self.method.trains_on_synthetic else "init")

    @property
    def fixed_images(self) -> bool:
        """Whether F is learned on images that stay as they were initialised."""
        return self.features is not None and not self.features.update_images

    def networks_needed(self) -> list[TrainedOn]:
        """Networks to be trained on the real data first (stage ``experts``)."""
        needed = self.method.networks_needed(self.net)
        for plan in self.every_plan():
            needed += [spec for spec in plan.networks_needed() if spec not in needed]
        if self.features is not None and self.features.init.source == "network":
            init = self.features.init
            needed.append(
                TrainedOn(
                    network=self.feature_network, members=self.features.n_feat,
                    **init.model_dump(include=set(TrainedOn.model_fields) - {"network"}),
                )
            )  # fmt: skip
        return needed

    @property
    def input_paths(self) -> list[Path]:
        """Files and folders outside of the data root that a run reads, absolute.

        The user's own dataset, a published set and the files that its options name.

        Raises:
            BadInput: the dataset is not there.
        """
        found = [datasets.locate(self.dataset)] if self.dataset.path is not None else []
        if self.method.given:
            found += _given_files(self.method)
        root = data_root().absolute()
        paths = [
            path.resolve() if path.is_relative_to(root) else path  # a link below it may lead out
            for path in map(Path.absolute, found)
        ]
        outside = (path for path in paths if not path.resolve().is_relative_to(root.resolve()))
        return list(dict.fromkeys(outside))

    def size(self) -> budget.SetSize:
        """Bytes of the set at its stored precision; for ``full``, of the real images as float32."""
        facts, features = self.facts, self.features
        if not self.method.has_set:
            count = -(-(facts.train_size or 0) // facts.num_classes)
            return budget.set_size(facts.num_classes, count, facts.shape)
        values = 0
        if features is not None:
            values = budget.feature_values(
                features, features.item_shape(self.feature_network, facts.shape)
            )
        return budget.set_size(
            facts.num_classes, self.ipc, facts.shape,
            feature_values=values,
            per_class=features is not None and features.granularity == "per_class",
            feature_bytes=budget.BYTES_OF[features.dtype] if features else 4,
        )  # fmt: skip

    def over_budget(self, features: FeatureSpec, item: Shape, shape: Shape) -> str | None:
        """A sentence if F takes more bytes than ``budget.ipc_ref`` plain images allow."""
        reference = features.budget.ipc_ref
        if reference is None or features.budget.enforce == "off":
            return None
        limit = budget.set_size(self.facts.num_classes, reference, shape)
        used = self.size()
        if used.images + used.features <= limit.images:
            return None
        per_ipc = limit.images // reference
        if features.granularity == "per_class":
            fits = max(0, (limit.images - used.features) // per_ipc)
        else:
            fits = limit.images // (per_ipc + used.features // self.ipc)
        return (
            f"{self.ipc} images per class with F take {used.images + used.features} bytes, "
            f"{reference} plain ones {limit.images}; at equal bytes ipc is {fits}"
        )

    @property
    def key(self) -> str:
        """Identifies the synthetic set (without the seed): all that changes it, nothing else."""
        return fingerprint(self._identity())

    def _identity(self) -> dict[str, Any]:
        features = None
        if self.features is not None:
            # layer, source and network stand resolved; update has one value in this version
            written = self.features.model_dump(
                mode="json", exclude_defaults=True,
                exclude={"budget": True, "layer": True, "update": True, "init": {"network"}},
            )  # fmt: skip
            if self.features.init.source == "noise":
                written["init"] = {"source": "noise"}
            if not written.get("init"):
                written.pop("init", None)
            if self.feature_source == "init":
                written = {k: v for k, v in written.items() if k not in _LEARNING_FIELDS}
            if self.features.n_feat == 1:
                written.pop("use", None)  # of one feature, mean, random and best are the same
            features = {
                **written,
                "layer": self.feature_network.layer_index(self.features.layer, self.facts.shape),
                "source": self.feature_source,
                "network": self.feature_network.identity(),
            }
        method = self.method.resolved(self.ipc)
        return {
            "dataset": dataset_identity(self.dataset),
            "network": None if method.given else self.net.identity(),
            "ipc": self.ipc if method.has_set else None,
            "init": self.init_name,
            "method": method.identity(),
            "features": features,
        }

    def plans(self) -> list[tuple[Network, Plan]]:
        """The protocol of every evaluated network."""
        return [
            (net, self.evaluation.plan(self.facts, net, ipc=self.ipc))
            for net in self.evaluated_networks
        ]

    def every_plan(self) -> list[Plan]:
        """The plans of all networks and of all roles that the protocol compares the set with."""
        roles = self.evaluation.roles if self.method.has_set else ("set",)
        return [
            self.evaluation.plan(self.facts, net, role, ipc=self.ipc)
            for net in self.evaluated_networks
            for role in roles
        ]

    def to_data(self) -> dict[str, Any]:
        """The resolved recipe as plain data, as YAML would give it."""
        data: dict[str, Any] = _listed(self.model_dump(by_alias=True))
        return data

    def to_yaml(self) -> str:
        """The resolved recipe; reading it back gives the same recipe."""
        return dump_yaml(self.to_data())


def _given_files(method: Any) -> list[Path]:
    """A published set with what belongs to it, and the files that its options name."""
    module = plugins.load(methods.__name__, method.name)
    own = [method.path] if method.path.is_dir() else module.files_of(method.path).values()
    return [*own, *(module.located(getattr(method, name)) for name in method.files)]


def dataset_identity(spec: DatasetSpec) -> dict[str, Any]:
    """What makes the real data what they are, as plain data: the user's own files by content."""
    named = spec.model_dump(mode="json", exclude_defaults=True)
    content = datasets.content_id(spec, data_root())
    if content is not None:
        named = {**named, "content": content}
        named.pop("path", None)
    named.pop("label", None)
    return named


def _listed(value: Any) -> Any:
    """Tuples as lists, which YAML has."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value
