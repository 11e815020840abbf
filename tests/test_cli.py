"""The command line as a whole: spellings of options, the list of commands, one line per mistake."""

from __future__ import annotations

import pytest
from absl import flags

from deepmac_ablate import cli
from deepmac_ablate.commands import xmanager_script

# What launchers of earlier versions have written into job files, and how it is written today.
SPELLINGS = {
    "train --gin_file a_b.gin --gin_bindings A.b_c=1 --workdir w_x":
    "train --gin-file a_b.gin --gin-bindings A.b_c=1 --workdir w_x",
    "evaluate --workdir w --box_source jittered0.1-expand_symmetric_xy --jitter_mode shrink":
    "evaluate --workdir w --box-source jittered0.1-expand_symmetric_xy --jitter-mode shrink",
    "launch s_1.py --max_parallel 2 --gin_bindings=A.b_c=d_e --eval_job --dry_run":
    "launch s_1.py --max-parallel 2 --gin-bindings=A.b_c=d_e --eval-job --dry-run",
    "worker --workdir w --mode train_and_eval --silence_limit 60":
    "worker --workdir w --mode train_and_eval --silence-limit 60",
    "diff a_1 b_1 --a_bindings X_Y=1 --b_bindings X_Y=2": "diff a_1 b_1 --a-bindings X_Y=1 "
    "--b-bindings X_Y=2",
    "export --workdir w --input_type image_tensor --input_image_size 64,64":
    "export --workdir w --input-type image_tensor --input-image-size 64,64",
}


def parsed(*words):
    """Options of a command, without the functions that run it."""
    found = vars(cli.make_parser().parse_args(words))
    return {name: value for name, value in found.items() if name != "run"}


@pytest.mark.parametrize("old", SPELLINGS)
def test_underscores_are_accepted_for_dashes(old):
    """Both spellings mean the same, and values keep their underscores."""
    found = parsed(*old.split())
    assert parsed(*SPELLINGS[old].split()) == found
    assert any("_" in str(value) for value in found.values())


def test_values_stay_as_they_are():
    """With spaces, with '=', with dashes first, on several lines."""
    values = ["A.b_c = 1", "x/A.b_c = '--d_e'", "A = [\n  'b_c']"]
    words = [f"--gin_bindings={value}" for value in values]
    assert values == parsed("train", "--workdir", "w", *words)["gin_bindings"]
    apart = [word for value in values for word in ("--gin_bindings", value)]
    assert values == parsed("train", "--workdir", "w", *apart)["gin_bindings"]
    assert "--a_b" == parsed("logs", "w", "--", "--a_b")["trial"]


def test_underscores_are_accepted_in_a_file_of_arguments(tmp_path):
    """@FILE has one argument on each line."""
    file = tmp_path / "options_1"
    file.write_text("--max_parallel\n3\n--gin_bindings=A.b_c = d_e\n")
    found = parsed("launch", "s.py", f"@{file}")
    assert (3, ["A.b_c = d_e"]) == (found["max_parallel"], found["gin_bindings"])


def test_internal_commands_are_not_listed(capsys):
    """Jobs run them; the list of commands is for people, but each command has its own help."""
    listed = cli.make_parser().format_help()
    assert "launch" in listed
    for command in ("worker", "tpu-server"):
        assert command not in listed
        with pytest.raises(SystemExit) as end:
            cli.main([command, "--help"])
        assert 0 == end.value.code
        assert f"usage: deepmac-ablate {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("statis", "deepmac-ablate: error: unknown command 'statis'. Did you mean 'status'? "
         "'deepmac-ablate --help' lists the commands."),
        ("data coca", "deepmac-ablate data: error: unknown command 'coca'. Did you mean 'coco'? "
         "'deepmac-ablate data --help' lists the commands."),
        # The nearest is internal, so no command is suggested.
        ("workers", "deepmac-ablate: error: unknown command 'workers'. 'deepmac-ablate --help' "
         "lists the commands."),
        # A misspelt option comes before the required one that is missing for it.
        ("train --workdr=w", "deepmac-ablate train: error: unknown option --workdr. Did you mean "
         "'--workdir'? 'deepmac-ablate train --help' lists the options."),
        ("launch s.py --executor gkee", "deepmac-ablate launch: error: --executor must be one of "
         "local, slurm, vertex, gke, got 'gkee'. Did you mean 'gke'? 'deepmac-ablate launch "
         "--help' lists the options."),
        ("status a b", "deepmac-ablate status: error: unexpected arguments: b. 'deepmac-ablate "
         "status --help' lists the options."),
        ("launch", "deepmac-ablate launch: error: the following arguments are required: SWEEP. "
         "'deepmac-ablate launch --help' lists the options."),
    ],
)
def test_a_misspelt_word_is_reported_in_one_line(line, message, capsys):
    """The message has the wrong word, the nearest listed one, and how to list all."""
    with pytest.raises(SystemExit) as end:
        cli.main(line.split())
    assert (2, f"{message}\n") == (end.value.code, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("plan s.py --steps -3", "--steps must be at least 1, got -3."),
        ("plan s.py --steps many", "--steps must be an integer, got 'many'."),
        ("plan s.py --steps", "--steps expected one argument."),
        ("launch s.py --max_parallel 0", "--max-parallel must be at least 1, got 0."),
        ("launch s.py --silence-limit -0.5", "--silence-limit must be at least 0, got -0.5."),
        ("compare w a b --resamples 10", "--resamples must be at least 100, got 10."),
        ("compare w a b --images -1", "--images must be at least 0, got -1."),
        ("report w --seed -1", "--seed must be at least 0, got -1."),
        ("predict --workdir w --images i --limit 0", "--limit must be at least 1, got 0."),
        ("export --workdir w --batch_size 0", "--batch-size must be at least 1, got 0."),
        ("evaluate --workdir w --draw -1", "--draw must be at least 0, got -1."),
        ("data check x --images -1", "--images must be at least 0, got -1."),
    ],
)
def test_a_wrong_number_is_reported_with_its_option(line, problem, capsys):
    """The message names the option, not the parameter that it becomes, before anything is read."""
    with pytest.raises(SystemExit) as end:
        cli.main(line.split())
    assert 2 == end.value.code
    assert problem in capsys.readouterr().err


def test_xmanager_takes_both_spellings(monkeypatch):
    """Flags of absl are parsed to the same options as those of the command."""
    parser = xmanager_script._parser()
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    monkeypatch.setattr(
        flags, "DEFINE_boolean", lambda name, default, text: flags.DEFINE_flag(
            flags.BooleanFlag(name, default, text), values))
    monkeypatch.setattr(
        flags, "DEFINE_multi_string", lambda name, default, text: flags.DEFINE_multi(
            flags.ArgumentParser(), flags.ArgumentSerializer(), name, default, text, values))
    xmanager_script._define_flags(parser)
    values(["x", "--sweep=s.py", "--gin_bindings=A.b_c = 1", "--gin-bindings=D = 2", "--dry_run",
            "--max-parallel=2", "--silence_limit=5"])
    args = parser.parse_args(xmanager_script._given_words(parser))
    assert ("s.py", {"A.b_c = 1", "D = 2"}, True, 2, 5.0) == (
        args.sweep, set(args.gin_bindings), args.dry_run, args.max_parallel, args.silence_limit)


def test_a_path_that_is_too_long_is_one_sentence(tmp_path, capsys, monkeypatch):
    """For every command that reads or writes paths; nothing is written."""
    monkeypatch.chdir(tmp_path)
    wrong = []
    for path in ("x" * 300, "/".join(["d" * 100] * 60)):
        for command in (
                ["status", path], ["stop", path], ["logs", path], ["table", path],
                ["report", path], ["compare", path, "a", "b"], ["diff", path, path],
                ["plan", path], ["plan", "sweeps/x.py", "--workdir", path], ["sync", path],
                ["evaluate", "--workdir", path], ["predict", "--workdir", path, "x.png"],
                ["export", "--workdir", path, "--output", "x"],
                ["data", "coco", "--annotations", path, "--images", path, "--output", "x/y"],
                ["data", "check", path], ["data", "shapes", "--output", path],
                ["train", "--gin-file", path, "--workdir", "w"],
                ["bindings", "--gin-file", path],
                ["import", "checkpoint", path, "--workdir", "w"]):
            try:
                status = cli.main(command)
            except SystemExit as error:
                status = error.code
            except Exception as error:
                wrong.append((command[:2], repr(error)[:200]))
                continue
            out, err = capsys.readouterr()
            if (not status and "No launcher is running" not in out) or err.count("\n") > 1:
                wrong.append((command[:2], status, out[-300:], err[-300:]))
    assert [] == wrong
    assert [] == list(tmp_path.iterdir())
