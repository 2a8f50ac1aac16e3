"""The harness of failures sees what is lost, torn, not synced or refused in the wrong way, and clears the healthy."""

import itertools
import random

import pytest
from perdure import Memory
from perdure_conformance import Runner, Site, Target
from perdure_conformance.clauses import _crash as crash
from perdure_conformance.clauses import _disk as disk
from perdure_conformance.clauses import _power as power
from perdure_conformance.crash import ACTS, Fault, Writer, drawn, history, killed, moved, rehearsed
from perdure_conformance.crash._death import AFTER
from perdure_conformance.mutants._crash import AnswersEarly, FullDiskHidden, FullDiskRaw, TornBatch

HEALTHY = Target.of("sqlite")
UNSYNCED = "sqlite:///{tmp}/{unique}.db?synchronous=normal"


@pytest.fixture
def run():
    """Run one check on a target; a fraction of a second for what is timed."""

    def one(check, target=HEALTHY, seed=0, seconds=0.2):
        with Site(target) as site:
            return Runner(site, profile="quick", seed=seed, total=25 * check.weight / seconds or 1).run_one(
                check
            )

    return one


def place_of(tmp_path, *wrap):
    return Target.of("sqlite", wrap=wrap).place("a", tmp_path)


@pytest.mark.parametrize(
    "check",
    [
        crash.a_batch_is_there_whole_or_not_at_all,
        crash.a_merge_is_there_whole_or_not_at_all,
        crash.a_copy_of_a_history_is_there_whole_or_not_at_all,
        crash.branches_and_names_survive_a_kill,
        crash.a_kill_in_a_compaction_costs_no_row,
        crash.a_kill_in_a_purge_costs_no_other_row,
        crash.what_was_acknowledged_survives_a_kill,
        crash.what_was_acknowledged_survives_the_death_of_the_engine,
        crash.the_death_of_a_writer_does_not_stop_another,
        disk.a_full_disk_leaves_the_commit_before,
    ],
    ids=lambda check: check.name,
)
def test_a_healthy_backend_passes(run, check):
    result = run(check)
    assert result.status == "passed", result.trace
    assert result.notes or not check.weight


@pytest.mark.parametrize("seed", range(3))
def test_an_early_answer_is_seen_as_loss(run, seed):
    target = Target.of("sqlite", wrap=(AnswersEarly,))
    for check in (
        crash.what_was_acknowledged_survives_a_kill,
        crash.what_was_acknowledged_survives_the_death_of_the_engine,
        crash.the_death_of_a_writer_does_not_stop_another,
    ):
        result = run(check, target, seed)
        assert result.status == "failed"
        assert Fault.LOST.value in result.got


def test_an_early_answer_is_seen_after_the_act(tmp_path):
    place = place_of(tmp_path, AnswersEarly)
    events = history(place, "history")
    rehearsal = rehearsed(place, "rehearsal", "batch", events)
    acknowledged, findings = killed(place, "killed", rehearsal, AFTER)
    assert acknowledged
    assert [finding.fault for finding in findings] == [Fault.LOST]


def test_a_torn_batch_is_seen(tmp_path):
    place, rng = place_of(tmp_path, TornBatch), random.Random(1)
    events = history(place, "history")
    rehearsal = rehearsed(place, "rehearsal", "batch", events)
    for number in itertools.islice(itertools.count(), 40):
        _, findings = killed(place, f"killed{number}", rehearsal, drawn(rehearsal.moments, rng))
        if findings:
            assert {finding.fault for finding in findings} == {Fault.HALF}
            return
    pytest.fail("no kill fell between the two commits")


@pytest.mark.parametrize("name", [name for name, act in ACTS.items() if act.whole])
def test_an_act_done_twice_is_done_once(tmp_path, name):
    """What the judges rest on: a whole act that nothing interrupts leaves what its rehearsal left."""
    place = place_of(tmp_path)
    rehearsal = rehearsed(place, "rehearsal", name, history(place, "history"))
    assert rehearsal.before != rehearsal.after
    assert killed(place, "killed", rehearsal, AFTER) == (True, [])


def test_a_hole_and_a_phantom_are_seen(tmp_path):
    place = place_of(tmp_path)
    writer = Writer(place, "stream", "w")
    writer.start(last=3)
    while writer.hear() is not None:
        pass
    writer.stop()
    assert writer.acknowledged == 3
    writer.acknowledged = 1
    assert Fault.PHANTOM in {finding.fault for finding in writer.judged()}
    writer.acknowledged = 5
    assert Fault.LOST in {finding.fault for finding in writer.judged()}
    with place.open("stream") as store:
        store.memories.put(Memory(id="w-1", kind="x"), commit_id="w-commit-7")
    assert Fault.HOLE in {finding.fault for finding in writer.judged()}


@pytest.mark.parametrize("mutant", [FullDiskHidden, FullDiskRaw])
def test_a_full_disk_that_is_not_told_is_seen(run, mutant):
    result = run(disk.a_full_disk_leaves_the_commit_before, Target.of("sqlite", wrap=(mutant,)))
    assert result.status == "failed"
    assert ("OSError" if mutant is FullDiskRaw else Fault.LOST.value) in result.got


def traced(result):
    if result.status == "skipped":
        pytest.skip(result.reason)
    return result


def test_a_store_that_syncs_survives_the_loss_of_power(run):
    for check in (
        power.what_was_acknowledged_survives_a_loss_of_power,
        power.a_loss_of_power_leaves_whole_commits,
    ):
        result = traced(run(check))
        assert result.status == "passed", result.trace


def test_a_store_that_does_not_sync_is_seen(run):
    result = traced(run(power.what_was_acknowledged_survives_a_loss_of_power, Target.of(UNSYNCED)))
    assert result.status == "failed"
    assert Fault.LOST.value in result.got


def test_a_disk_that_fails(run):
    for seed in range(3):
        result = traced(run(disk.a_failing_disk_leaves_the_commit_before, seed=seed))
        assert result.status == "passed", result.trace


def test_a_backend_that_claims_less_is_not_judged_for_more(run):
    result = run(crash.what_was_acknowledged_survives_a_kill, Target.of("memory"))
    assert result.status == "absent"


def test_a_place_moves_with_its_directory(tmp_path):
    place = place_of(tmp_path / "a")
    there = moved(place, tmp_path / "b")
    assert there.url == place.url.replace(str(tmp_path / "a"), str(tmp_path / "b"))
    assert there.directory == tmp_path / "b"
