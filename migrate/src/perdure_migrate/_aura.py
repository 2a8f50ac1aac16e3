"""AURA: a directory of pickles, one `StateSnapshot` per component, and checkpoints of all of them.

=========================================== ==========================================================
in the source                               in the store
=========================================== ==========================================================
``{type}_{component}.pkl``                  state: kind is the state type, id the name of the file, `data`
                                            the data, `timestamp` the times, other fields in `metrics`
``checkpoint_*.checkpoint``                 checkpoint of that name. Where its states are those of the
                                            files, it names their commit; else they are written to a
                                            branch ``checkpoint/<name>``
any other pickle                            state of kind ``legacy.unmapped``
any other file                              the same, with the file as its payload
=========================================== ==========================================================

A single such pickle is taken as well.
"""

from __future__ import annotations

from typing import Any

from perdure import KEY_LIMIT, InvalidRef, PerdureError, State, check_name, values
from perdure.values import Opaque

from perdure_migrate._fit import Fields, Keys, as_text, as_time, class_name, fields_of, show
from perdure_migrate._material import FileMaterial, Material
from perdure_migrate._plan import UNMAPPED, Plan, Planned, PlannedCheckpoint, place
from perdure_migrate._settings import Settings

__all__ = ["AuraSource"]

_SNAPSHOT = ".pkl"
_CHECKPOINT = ".checkpoint"

#: The fields without which a pickle is no snapshot, or no checkpoint.
_NEEDED = {"state_type", "component_id", "data"}
_NEEDED_CHECKPOINT = {"checkpoint_id", "states"}

#: The kind of a state whose type is no text.
_KIND = "aura"


class AuraSource:
    """The source plugin."""

    name = "aura"

    def detect(self, material: Material) -> tuple[float, str] | None:
        """Judges by the first snapshot and the first checkpoint that there are."""
        files = [file for file in material.files if file.name.endswith((_SNAPSHOT, _CHECKPOINT))]
        if not material.directory:
            files = material.files
        snapshot = next((f for f in files if not f.name.endswith(_CHECKPOINT)), None)
        checkpoint = next((f for f in files if f.name.endswith(_CHECKPOINT)), None)
        if snapshot is not None and _has(snapshot.tree, _NEEDED):
            of = class_name(snapshot.tree)
            return (1.0 if of else 0.7), f"{snapshot.name!r} is a snapshot ({of or 'a dict'})"
        if checkpoint is not None and _is_checkpoint(checkpoint.tree):
            return 0.7, f"{checkpoint.name!r} is a checkpoint"
        if files and material.directory:
            return 0.2, f"{len(files)} files by names of snapshots or checkpoints, with other content"
        return None

    def plan(self, material: Material, settings: Settings) -> Plan:
        """See the module docstring."""
        trees = [(file, file.tree) for file in material.files if _is_read(file, material)]
        plan = Plan(self.name, "aura/1", material.name, material.digest)
        keys: dict[str, Keys] = {}
        for name, why in material.odd:
            plan.note("left out", show(name), why)
        for file in material.files:
            if not _is_read(file, material):
                plan.found["other files"] += 1
                plan.unmapped(file.name, None, show(file.name), "no pickle by its name", payload=file.read())
        checkpoints = []
        for file, tree in trees:
            if _is_checkpoint(tree):
                checkpoints.append((file, tree))
            elif _has(tree, _NEEDED):
                plan.found["snapshots"] += 1
                stem = file.name.removesuffix(_SNAPSHOT)
                state = _state(plan, keys, stem, tree, show(file.name))
                plan.add(state, show(file.name))
            else:
                plan.found["other values"] += 1
                plan.unmapped(file.name, tree, show(file.name), "neither a snapshot nor a checkpoint")
        for file, tree in checkpoints:
            plan.found["checkpoints"] += 1
            plan.checkpoints.append(_checkpoint(plan, file, tree, only=len(checkpoints) == 1))
        plan.settle(material)
        return plan


def _is_read(file: FileMaterial, material: Material) -> bool:
    return not material.directory or file.name.endswith((_SNAPSHOT, _CHECKPOINT))


def _has(tree: Any, needed: set[str]) -> bool:
    fields = fields_of(tree)
    return fields is not None and needed <= fields.keys()


def _is_checkpoint(tree: Any) -> bool:
    return _has(tree, _NEEDED_CHECKPOINT) and type((fields_of(tree) or {})["states"]) is dict


def _state(plan: Plan, keys: dict[str, Keys], name: Any, tree: Any, origin: str) -> State:
    """A snapshot → a state; what its typed fields do not hold exactly is in `metrics`."""
    given = fields_of(tree)
    assert given is not None
    fields = Fields(given)
    legacy: dict[str, Any] = {}
    if (of := class_name(tree)) is not None:
        legacy["class"] = of
    kind = _kind(given["state_type"])
    state_id = keys.setdefault(kind, Keys(f"states/{kind}")).assign(name)
    if state_id != name:
        legacy["name"] = name
        plan.note("key", origin, f"the name {show(name)} cannot be an id; it is now {state_id}")
    data = fields.value("data")
    time = as_time(given.get("timestamp"))
    if time is None and given.get("timestamp") is not None:
        plan.note("kept", origin, f"timestamp is {show(given['timestamp'])}; whole in metrics")
    return State(
        kind=kind, id=state_id, data=data, metrics=fields.leftover(legacy), created_at=time, updated_at=time
    )


def _kind(state_type: Any) -> str:
    """The text of an enum member, or the text itself; "aura" where it is neither."""
    if type(state_type) is Opaque and len(state_type.args or ()) == 1:
        state_type = state_type.args[0]  # type: ignore[index]
    kind = as_text(state_type, KEY_LIMIT)
    return kind if kind and not kind.startswith("legacy.") else _KIND


def _checkpoint(plan: Plan, file: FileMaterial, tree: Any, *, only: bool) -> PlannedCheckpoint:
    """A checkpoint, compared with the snapshots by all their fields (of whatever class they are).

    Where it is the only one, and there are no snapshots, its states are those of the migration.
    """
    origin = show(file.name)
    fields = Fields(fields_of(tree) or {})
    entries = fields.rest.pop("states")
    name = _name(plan, fields.rest["checkpoint_id"], origin)
    own: dict[Any, Planned] = {}
    keys: dict[str, Keys] = {}
    for key, entry in entries.items():
        where = f"{origin} {place('states', (key,))}"
        if _has(entry, _NEEDED):
            state = _state(plan, keys, key, entry, where)
        else:
            unmapped = keys.setdefault(UNMAPPED, Keys("checkpoint/" + name))
            state = State(kind=UNMAPPED, id=unmapped.assign(key), data=entry, metrics={"where": where})
            plan.note("unmapped", where, f"no snapshot; kept as state ({UNMAPPED}, {state.id})")
        own[state.key] = Planned(state, where)
    snapshots = {k: p for k, p in plan.rows["states"].items() if k[0] != UNMAPPED}
    if only and not snapshots:
        for planned in own.values():
            plan.found["snapshots"] += 1
            plan.add(planned.record, planned.origin)
        snapshots = own
    same = own.keys() == snapshots.keys() and all(_alike(own[k].record, snapshots[k].record) for k in own)
    if same:
        own = snapshots
    else:
        plan.note("kept", origin, f"its states differ from the files; they are on branch checkpoint/{name}")
    legacy = {"file": file.name, "sha256": file.sha256}
    if (of := class_name(tree)) is not None:
        legacy["class"] = of
    return PlannedCheckpoint(name, own, same, fields.leftover(legacy), f"migrated from {origin}", origin)


def _alike(a: Any, b: Any) -> bool:
    """Whether two states hold the same, by whatever class the source wrapped them in."""

    def fields(state: State) -> dict[Any, Any]:
        metrics = dict(state.metrics or {})
        legacy = {k: v for k, v in metrics.pop("legacy", {}).items() if k != "class"}
        return {**{k: metrics[k] for k in sorted(metrics, key=repr)}, "legacy": legacy}

    try:
        return values.equal(a.data, b.data) and values.equal(fields(a), fields(b))
    except PerdureError:  # what the codec does not know cannot be said to be equal
        return False


def _name(plan: Plan, given: Any, origin: str) -> str:
    """The checkpoint's own name where it may be one."""
    taken = {checkpoint.name for checkpoint in plan.checkpoints}
    try:
        name = check_name(given, "checkpoint name")
        check_name(f"checkpoint/{name}", "branch name")
        if name not in taken:
            return name
    except InvalidRef:
        pass
    keys = Keys("checkpoints")
    while (name := keys.assign(("checkpoint", given))) in taken:
        continue
    plan.note("key", origin, f"the name {show(given)} cannot be one, or is taken; it is now {name}")
    return name
