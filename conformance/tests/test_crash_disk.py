"""What a disk holds after a loss of power, from the system calls of all processes that wrote to it."""

import os
import random
from pathlib import Path

import pytest
from perdure_conformance.crash._image import Disk
from perdure_conformance.crash._tasks import births_of
from perdure_conformance.crash._trace import Call, calls_of
from perdure_conformance.crash._tree import owners_of, read_tree
from perdure_conformance.expect import Skipped


def hexadecimal(text):
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def call(name, text, *strings, result=0, opened="", thread=1):
    """A call; each `%` in the text is one of the strings."""
    return Call(
        thread, name, text.replace("%", '""'), tuple(string.encode() for string in strings), result, opened
    )


def opens(path, flags, result, thread=1):
    return call("openat", f"AT_FDCWD</d>, %, {flags}, 0666", path, result=result, opened=path, thread=thread)


def writes(descriptor, path, content, **more):
    return call("write", f"{descriptor}<{path}>, %, {len(content)}", content, result=len(content), **more)


def disk_of(*steps, births=()):
    disk = Disk(Path("/d"), births=births_of(births or steps))
    disk.run(steps)
    return disk


def left_of(disk, target, rng=None):
    """What a loss of power leaves: path to content, None for a directory."""
    disk.restore(target, rng)
    return {
        str(path.relative_to(target)): None if path.is_dir() else path.read_text()
        for path in sorted(target.rglob("*"))
    }


SYNC_D = [opens("/d", "O_RDONLY|O_DIRECTORY", 9), call("fsync", "9</d>")]


def test_a_log_of_calls_is_read_also_where_threads_cross(tmp_path):
    log = tmp_path / "log"
    file, name = hexadecimal("/d/f"), hexadecimal("/d/g")
    log.write_text(
        f'7  openat(AT_FDCWD<{hexadecimal("/")}>, "{name}", O_WRONLY|O_CREAT, 0666) = 4<{name}>\n'
        f'7  pwrite64(4<{file}>, "{hexadecimal("abc")}", 3, 10 <unfinished ...>\n'
        f"8  fsync(4<{file}>) = -1 EIO (Input/output error) (INJECTED)\n"
        "7  <... pwrite64 resumed>) = 3\n"
        f"9  fdatasync(4<{file}>(deleted)) = ?\n"
        "8  exit(0) = ?\n"
        "7  +++ exited with 0 +++\n"
    )
    opened, sync, write, last, _ = calls_of(log)
    assert (opened.name, opened.opened, opened.result) == ("openat", "/d/g", 4)
    assert (sync.injected, sync.result, sync.paths) == (True, -1, ["/d/f"])
    assert (write.strings, write.words[-1], write.result) == ((b"abc",), "10", 3)
    assert (last.last, last.result, last.words, last.paths) == (True, -1, ["4"], ["/d/f"])


def test_a_disk_keeps_what_was_synced(tmp_path):
    """Bytes go with the sync of their file, names with that of their directory."""
    steps = [
        opens("/d/a", "O_RDWR|O_CREAT", 3),
        writes(3, "/d/a", "one"),
        call("fsync", "3</d/a>"),
        writes(3, "/d/a", "two"),
        *SYNC_D,
        opens("/d/b", "O_RDWR|O_CREAT|O_DSYNC", 5),
        writes(5, "/d/b", "new"),
        call("rename", "%, %", "/d/b", "/d/c"),
        call("fsync", "9</d>"),
    ]
    states = [*[{}] * 5, *[{"a": "one"}] * 4, {"a": "one", "c": "new"}]
    for number, state in enumerate(states, 1):
        assert left_of(disk_of(*steps[:number]), tmp_path / str(number)) == state, number
    disk = disk_of(*steps)
    assert disk.unsynced() == ["a"]
    images = {left_of(disk, tmp_path / f"any{seed}", random.Random(seed))["a"] for seed in range(30)}
    assert images == {"one", "onetwo"}


def test_processes_have_descriptors_of_their_own(tmp_path):
    """A child has its parent's open files, with one position; what either opens later is its own."""
    steps = [
        opens("/d/a", "O_RDWR|O_CREAT", 3),
        writes(3, "/d/a", "1"),
        opens("/d/b", "O_RDWR|O_CREAT", 4, thread=2),  # the child is seen before its birth has ended
        writes(3, "/d/a", "2", thread=2),
        call("fork", "", result=2),
        opens("/d/c", "O_RDWR|O_CREAT", 4),
        writes(4, "/d/c", "parent"),
        writes(4, "/d/b", "child", thread=2),
        call("dup2", "4</d/b>, 7", result=7, thread=2),
        writes(7, "/d/b", "ren", thread=2),
        writes(3, "/d/a", "3"),
        call("sync", ""),
    ]
    assert left_of(disk_of(*steps), tmp_path) == {"a": "123", "b": "children", "c": "parent"}


def test_threads_share_descriptors_and_the_working_directory(tmp_path):
    steps = [
        call("clone3", "{flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD}", result=2),
        call("fork", "", result=3),
        call("mkdir", "%, 0700", "/d/x"),
        call("chdir", "%", "/d/x", thread=2),
        call("mkdir", "%, 0700", "y"),
        call("mkdir", "%, 0700", "/proc/self/cwd/z"),
        call("mkdir", "%, 0700", "../d/w", thread=3),  # it began elsewhere, and stays there
        call("chdir", "%", "/d", thread=3),
        call("mkdir", "%, 0700", "x/../v", thread=3),
        opens("/d/v/f", "O_RDWR|O_CREAT", 3, thread=2),
        writes(3, "/d/v/f", "one"),
        call("sync", ""),
    ]
    found = left_of(disk_of(*steps), tmp_path)
    assert found == {"x": None, "x/y": None, "x/z": None, "w": None, "v": None, "v/f": "one"}


def test_a_directory_takes_along_what_is_in_it(tmp_path):
    """Its own name is durable with the directory above, those below with itself."""
    steps = [
        call("mkdir", "%, 0700", "/d/new"),
        opens("/d/new/f", "O_RDWR|O_CREAT", 3),
        writes(3, "/d/new/f", "one"),
        call("fsync", "3</d/new/f>"),
        opens("/d/new", "O_RDONLY|O_DIRECTORY", 4),
        call("fsync", "4</d/new>"),
        call("rename", "%, %", "/d/new", "/d/whole"),
    ]
    assert left_of(disk_of(*steps), tmp_path / "before") == {}
    assert left_of(disk_of(*steps, *SYNC_D), tmp_path / "after") == {"whole": None, "whole/f": "one"}


def test_links_are_followed_on_the_way(tmp_path):
    steps = [
        call("mkdir", "%, 0700", "/d/a"),
        call("symlink", "%, %", "/d", "/elsewhere"),
        call("symlinkat", "%, AT_FDCWD</d>, %", "a", "l"),
        call("mkdir", "%, 0700", "/elsewhere/l/b"),
        call("sync", ""),
    ]
    disk_of(*steps).restore(tmp_path)
    assert os.readlink(tmp_path / "l") == "a"
    assert (tmp_path / "a" / "b").is_dir()


def test_files_grow_and_shrink_in_many_ways(tmp_path):
    steps = [
        opens("/d/a", "O_RDWR|O_CREAT", 3),
        call(
            "pwritev",
            "3</d/a>, [{iov_base=%, iov_len=2}, {iov_base=%, iov_len=2}], 2, 1",
            "ab",
            "cd",
            result=4,
        ),
        call("fallocate", "3</d/a>, 0, 0, 7"),
        call("fallocate", "3</d/a>, FALLOC_FL_KEEP_SIZE, 0, 90"),
        call("fallocate", "3</d/a>, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 2, 1"),
        call("sync_file_range", "3</d/a>, 0, 7, SYNC_FILE_RANGE_WRITE"),
        call("fsync", "3</d/a>"),
        *SYNC_D,
        call("truncate", "%, 6", "/d/a"),
    ]
    assert left_of(disk_of(*steps), tmp_path / "synced") == {"a": "\0a\0cd\0\0"}
    assert left_of(disk_of(*steps, call("sync", "")), tmp_path / "all") == {"a": "\0a\0cd\0"}


@pytest.mark.parametrize(
    "step",
    [
        call("copy_file_range", "3</d/a>, [0], 4</d/b>, [0], 9, 0", result=9),
        call("fallocate", "3</d/a>, FALLOC_FL_COLLAPSE_RANGE, 0, 512"),
        call("io_uring_enter", "3, 1, 0, 0, NULL, 8", result=1),
    ],
    ids=lambda step: step.name,
)
def test_what_is_not_followed_is_said(step):
    with pytest.raises(Skipped, match="does not follow"):
        disk_of(opens("/d/a", "O_RDWR|O_CREAT", 3), step)


def test_a_disk_begins_with_what_is_there_and_tells_what_it_did_not_see(tmp_path):
    there, copy = tmp_path / "there", tmp_path / "copy"
    (there / "empty").mkdir(parents=True)
    (there / "f").write_text("one")
    os.chmod(there / "f", 0o640)
    os.chmod(there / "empty", 0o750)
    os.symlink("f", there / "link")
    disk = Disk(there, read_tree(there))
    assert disk.differs() == []
    disk.restore(copy, None, owners_of(there))
    assert owners_of(copy) == owners_of(there)
    assert Disk(copy, read_tree(there)).differs() == []
    (there / "f").write_text("two")
    assert disk.differs() == ["f"]
