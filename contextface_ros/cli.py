"""`contextface ...`: the model on the command line, and a robot's processes started.

    contextface express --quote "You came all this way for me?"
    contextface models list
    contextface doctor
    contextface up --model nano --camera 0

An error is one sentence on stderr and exit code 2; `--debug` shows where it came from.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contextface_ros import bringup, flame_commands, viewer_command
from contextface_ros.errors import BadBundle, BadInput, ContextFaceError, MissingDependency

if TYPE_CHECKING:
    from contextface_ros.bundle import Bundle
    from contextface_ros.contextface import ContextFace
    from contextface_ros.types import Prediction, UInt8Array

# Written here once more, since `doctor` has to start where numpy, and so types.py, does not.
PERSPECTIVES = ("speaker", "listener")
DEVICES = ("auto", "cpu", "cuda")

_ERROR, _INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()  # here, where a closed pipe can still be caught
        return code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # `contextface ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "debug" in arguments:
            raise
        known = isinstance(error, ContextFaceError)
        _say(str(error) if known else f"{type(error).__name__}: {error} (see --debug)")
        return _ERROR


def _say(sentence: str) -> None:
    print(f"contextface: {' '.join(sentence.split())}", file=sys.stderr)


# --- express ------------------------------------------------------------------------------------


def express(arguments: argparse.Namespace) -> int:
    """Answer one context, or with --batch every line of a file."""
    if arguments.batch is not None or arguments.out is not None:
        return _express_batch(arguments)
    if arguments.quote is None and arguments.situation is None:
        raise BadInput("there is nothing to express: give --quote, --situation or --batch")
    from contextface_ros.types import Context, Perspective

    if arguments.render is not None:
        from contextface_ros.picture import check_picture_place

        check_picture_place(arguments.render)  # not only after the model was loaded
    context = Context(
        quote=arguments.quote,
        situation=arguments.situation,
        perspective=Perspective(arguments.perspective),
        image=None if arguments.image is None else _read_image(arguments.image),
    )
    person = flame_commands.Person.of(arguments.basis, arguments.shape)
    with _load(arguments) as model:
        start = time.perf_counter()
        prediction = person.face_of(model.predict(context))
        took_ms = (time.perf_counter() - start) * 1000
    _show(prediction, took_ms, arguments.json)
    if arguments.image is not None and not prediction.used_image:
        _say(f"the bundle {arguments.model} cannot see: the image was not used")
    if arguments.render is not None:
        person.draw(prediction.expression, arguments.render)
    return 0


def _express_batch(arguments: argparse.Namespace) -> int:
    from contextface_ros.batch import Progress, answer_file
    from contextface_ros.console import progress_bar
    from contextface_ros.types import Perspective

    alone = ("quote", "situation", "image", "render", "basis", "shape")
    if None in (arguments.batch, arguments.out) or any(getattr(arguments, a) for a in alone):
        raise BadInput("--batch IN.jsonl goes with --out OUT.jsonl and without another input")
    if not arguments.batch.is_file():
        raise BadInput(f"there is no file {arguments.batch}")
    with _load(arguments) as model, progress_bar(arguments.batch.stat().st_size) as advance:

        def on_progress(progress: Progress) -> None:
            advance(progress.bytes_read, f"{progress.rows} rows, {progress.bad} bad")

        start = time.perf_counter()
        perspective = Perspective(arguments.perspective)
        done = answer_file(
            model, arguments.batch, arguments.out, perspective=perspective, on_progress=on_progress
        )
        took_s = time.perf_counter() - start
    _say(f"{done.rows} rows in {arguments.out}, {done.bad} of them errors ({took_s:.1f} s)")
    return 0


def _load(arguments: argparse.Namespace) -> ContextFace:
    from contextface_ros.contextface import ContextFace
    from contextface_ros.language.runtime import Runtime

    runtime = Runtime(
        device=arguments.device,
        threads=arguments.threads,
        context_length=arguments.context_length,
        gpu_layers=arguments.gpu_layers,
    )
    return ContextFace.load(arguments.model, runtime)


def _read_image(path: Path) -> UInt8Array:
    from contextface_ros.vision.image import decode_compressed

    try:
        return decode_compressed(path.read_bytes())
    except OSError as error:
        raise BadInput(f"the image {path} cannot be read: {error.strerror}") from error


def _show(prediction: Prediction, took_ms: float, as_json: bool) -> None:
    from contextface_ros.face.open_head import OpenHead
    from contextface_ros.record import records

    (record,) = records([prediction], OpenHead.load())
    if as_json:
        print(json.dumps(record, allow_nan=False))
        return
    from contextface_ros.console import console, show_record

    show_record(console(), record, took_ms)


# --- models -------------------------------------------------------------------------------------


def models_list(arguments: argparse.Namespace) -> int:
    """Say which bundles can be named."""
    from contextface_ros.bundle import list_bundles, model_folders, read_bundle

    keys = ("version", "backend", "prompt", "basis")
    rows: list[dict[str, str]] = []
    for folder in list_bundles():
        row = {"name": folder.name, "folder": str(folder)}
        try:
            bundle = read_bundle(folder)
            rows.append({**row, **{key: getattr(bundle, key) for key in keys}})
        except BadBundle as error:
            rows.append({**row, "error": str(error)})
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        unusable = f"cannot be used: {row.get('error')}"
        about = unusable if "error" in row else "  ".join(row[key] for key in keys)
        print(f"{row['name']:<12}{about}  {row['folder']}")
    if not rows:
        _say(f"there are no bundles in {', '.join(map(str, model_folders()))}")
    return 0


def models_show(arguments: argparse.Namespace) -> int:
    """Print all that a bundle says of itself."""
    from contextface_ros.bundle import find_bundle, read_bundle
    from contextface_ros.manifest import dump, plain

    bundle = read_bundle(find_bundle(arguments.name))
    if arguments.json:
        print(json.dumps({**plain(bundle), "folder": str(bundle.folder)}))
        return 0
    print(dump(bundle), end="")
    print(f"\n# {bundle.folder}")
    for name, size in _sizes(bundle):
        print(f"# {name:<10}{size}")
    return 0


def _sizes(bundle: Bundle) -> Iterator[tuple[str, str]]:
    try:
        parts = bundle.parts()
    except (BadBundle, MissingDependency) as error:
        yield "error", str(error)
        return
    for name, _, path in parts:
        size = f"{path.stat().st_size / 1e6:8.2f} MB" if path.is_file() else "  folder"
        yield name, f"{size}  {path}"


def models_verify(arguments: argparse.Namespace) -> int:
    """Recompute the checksums of bundles, of all without a name, and check their files."""
    from contextface_ros.bundle import find_bundle, list_bundles, read_bundle

    folders = [find_bundle(name) for name in arguments.names] or list_bundles()
    if not folders:
        raise BadBundle("there are no bundles to verify: contextface models list says where from")
    bad = 0
    for folder in folders:
        try:
            bundle = read_bundle(folder)
            bundle.verify()
            parts = ", ".join(name for name, _, _ in bundle.parts())
            print(f"{folder.name}: sound ({parts})")
        except (BadBundle, MissingDependency) as error:
            _say(f"{folder.name}: {error}")
            bad += 1
    return _ERROR if bad else 0


# --- the rest -----------------------------------------------------------------------------------


def doctor(arguments: argparse.Namespace) -> int:
    """Say what is installed, what is missing, and what to do about it."""
    from contextface_ros.doctor import run

    return run(as_json=arguments.json)


def up(arguments: argparse.Namespace) -> int:
    """Start the nodes, keep them running, and end them at Ctrl-C."""
    options = {option.name: getattr(arguments, option.name) for option in _up_options()}
    try:
        return bringup.up(bringup.Options(**options))
    except ModuleNotFoundError as error:
        raise _no_ros(error) from error


def robot(arguments: argparse.Namespace) -> int:
    """Check a robot's description, and print where its channels go for each emotion."""
    from contextface_ros.face.prototypes import prototype_faces
    from contextface_ros.robots.table import print_robot

    print_robot(arguments.file, prototype_faces())
    return 0


def record(arguments: argparse.Namespace) -> int:
    """Record what is said, felt and shown into a file for ros2 bag and Foxglove, until Ctrl-C."""
    ros_arguments = ["-r", f"__ns:=/{arguments.namespace.strip('/')}"]
    for rule in arguments.remap:
        ros_arguments += ["-r", rule]
    try:
        from contextface_ros.nodes.recorder import record as run

        return run(arguments.file, arguments.images, ros_arguments)
    except ModuleNotFoundError as error:
        raise _no_ros(error) from error


def demo(arguments: argparse.Namespace) -> int:
    """Play a short scene over real ROS 2, and save a picture of the faces."""
    from contextface_ros.demo import play

    try:
        return play(arguments.model, arguments.out)
    except ModuleNotFoundError as error:
        raise _no_ros(error) from error


def viewer(arguments: argparse.Namespace) -> int:
    """Show the face in a browser, with what was said and a box to type in."""
    try:
        return viewer_command.viewer(arguments)
    except ModuleNotFoundError as error:
        raise _no_ros(error) from error


def _no_ros(error: ModuleNotFoundError) -> MissingDependency:
    hint = "source a ROS 2 workspace with contextface_ros in it, or run make setup"
    return MissingDependency(f"ROS 2 is missing here ({error.name}): {hint}")


# --- the command line's description -------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    # Before and after the command's name; absent rather than false, or the second place would
    # take back what the first has said.
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug",
        action="store_true",
        help="show where an error came from",
        default=argparse.SUPPRESS,
    )
    top = argparse.ArgumentParser(
        prog="contextface",
        description="A robot's face from the context of what is said.",
        parents=[common],
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(into: Any, name: str, run: Any) -> argparse.ArgumentParser:
        summary = run.__doc__.splitlines()[0]
        added: argparse.ArgumentParser = into.add_parser(
            name, help=summary, description=summary, parents=[common]
        )
        added.set_defaults(run=run)
        return added

    _describe_express(command(commands, "express", express))

    models = commands.add_parser("models", help="List, show and verify model bundles.")
    actions = models.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing = command(actions, "list", models_list)
    showing = command(actions, "show", models_show)
    showing.add_argument("name", metavar="NAME", help="a bundle's name or folder")
    verifying = command(actions, "verify", models_verify)
    verifying.add_argument("names", metavar="NAME", nargs="*", help="a bundle's name or folder")
    examining = command(commands, "doctor", doctor)
    for reporting in (listing, showing, examining):
        reporting.add_argument("--json", action="store_true", help="print JSON")

    _describe_up(command(commands, "up", up))
    viewer_command.describe_viewer(command(commands, "viewer", viewer))

    flame_commands.describe_calibrate(command(commands, "calibrate", flame_commands.calibrate))
    flame_commands.describe_retarget(command(commands, "retarget", flame_commands.retarget))

    driving = command(commands, "robot", robot)
    driving.add_argument(
        "file", type=Path, metavar="FILE", help="YAML that describes a robot's face"
    )

    _describe_record(command(commands, "record", record))

    playing = command(commands, "demo", demo)
    playing.add_argument(
        "--model", default="nano", metavar="NAME", help="a bundle's name or folder"
    )
    playing.add_argument(
        "--out",
        type=Path,
        default=Path("contextface-demo.png"),
        metavar="FILE",
        help="the picture of the faces",
    )
    return top


def _describe_record(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("file", type=Path, metavar="OUT.mcap", help="the file; it must not be there")
    add(
        "--images",
        choices=("none", "raw", "compressed"),
        default="none",
        help="what to record of the topic image: nothing, sensor_msgs/Image, or CompressedImage",
    )
    add("--namespace", default="", metavar="NAMESPACE", help="of the robot's topics")
    add(
        "--remap",
        action="append",
        default=[],
        metavar="TOPIC:=OTHER",
        help="record another topic in place of one, such as speech:=/ears/speech; as often as"
        " needed",
    )


def _describe_express(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--quote", metavar="TEXT", help="what a person says")
    add(
        "--situation",
        metavar="TEXT",
        help="what happens to the person, in the third person; with --quote, its background",
    )
    add(
        "--perspective",
        choices=PERSPECTIVES,
        default=PERSPECTIVES[0],
        help="whose face: of the one who speaks, or of the one opposite",
    )
    add(
        "--image",
        type=Path,
        metavar="FILE",
        help="a JPEG or PNG of the person, for bundles that see",
    )
    add("--json", action="store_true", help="print JSON instead of bars")
    add("--render", type=Path, metavar="FILE", help="draw the face into a PNG or JPEG")
    flame_commands.describe_face(command)
    add(
        "--batch",
        type=Path,
        metavar="IN.jsonl",
        help="answer each line, an object with kind (quote or situation) and text, and if wanted "
        "id, perspective and situation; needs --out",
    )
    add(
        "--out",
        type=Path,
        metavar="OUT.jsonl",
        help="of --batch: line n answers line n of the input; a line that cannot be used, an "
        "empty one too, is answered by an object with error",
    )
    add("--model", default="nano", metavar="NAME", help="a bundle's name or folder")
    add("--threads", type=_count, default=2, metavar="N", help="CPU threads of the language model")
    add("--device", choices=DEVICES, default="auto", help="where the model runs")
    add("--gpu-layers", type=int, default=-1, metavar="N", help="layers on the GPU; -1 for all")
    add(
        "--context-length",
        type=_count,
        default=2048,
        metavar="N",
        help="tokens of the longest text, an image included",
    )


def _count(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _up_options() -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(bringup.Options)


def _describe_up(command: argparse.ArgumentParser) -> None:
    for option in _up_options():
        settings: dict[str, Any] = (
            {"action": argparse.BooleanOptionalAction}
            if isinstance(option.default, bool)
            else {"metavar": option.name.upper()}
        )
        command.add_argument(
            f"--{option.name.replace('_', '-')}",
            default=option.default,
            help=option.metadata["description"],
            **settings,
        )


def page() -> str:
    """docs/cli.md. The same under every version of Python, which argparse's own help is not."""
    from contextface_ros import batch, record

    made_by = "python -c 'from contextface_ros.cli import page; print(page(), end=\"\")'"
    sections = [
        "# The command `contextface`\n",
        f"Made from the program by `{made_by} > docs/cli.md`.\n",
        "An error is one sentence on stderr and exit code 2; `--debug` shows where it came from.\n",
        *_sections(parser()),
        f"## Rows of `--batch` and `--json`\n\n{_markdown(batch.__doc__)}\n",
        f"{_markdown(record.records.__doc__).partition('Args:')[0].strip()}\n",
    ]
    return "\n".join(sections)


def _markdown(docstring: str | None) -> str:
    """A docstring's text without its first line; what is indented in it stays so, as code."""
    return inspect.cleandoc(docstring or "").partition("\n\n")[2].strip()


def _sections(command: argparse.ArgumentParser) -> Iterator[str]:
    rows = []
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _sections(below)
        elif action.dest not in ("help", "debug"):
            rows.append(_row(action))
    if command.get_default("run") is not None:
        yield f"## `{command.prog}`\n\n{command.description}\n"
        if rows:
            yield "\n".join(["| option | default | meaning |", "|---|---|---|", *rows, ""])


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or str(action.metavar)
    value = "\\|".join(action.choices) if action.choices else action.metavar
    if action.option_strings and action.nargs != 0 and value:
        name += f" {value}"
    shown = action.default not in (None, "", False, argparse.SUPPRESS, [])
    default = f"`{action.default}`" if shown else ""
    return f"| `{name}` | {default} | {action.help} |"
