"""Which group, option or key of a command does not exist, and the nearest that does.

Hydra's errors say so in English and rarely in attributes, so the command's overrides are looked at themselves.
"""

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlcpose.config.folders import CONF, group_names, option_names, user_config_folders
from dlcpose.config.overrides import override_values, parsed_overrides
from dlcpose.config.sources import checked_loading
from dlcpose.structures.data_files import read_yaml
from dlcpose.structures.errors import DlcposeError

# The extra that installs a plugin of Hydra's.
PLUGINS = {"tpe": "sweep", "joblib": "sweep", **dict.fromkeys(("ray", "submitit_slurm", "submitit_local"), "cluster")}
MAX_NAMES = 40  # in one message


def explain_unknown_name(error: Exception, config_name: str, arguments: Sequence[str]) -> str | None:
    """One line on the name that a config did not compose for, None where all of the command's names exist.

    arguments: the overrides, options of the shell among them.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _explain_option(*_group_and_option(error.missing_cfg_file), arguments)
    if reason := explain_option_as_value(config_name, arguments):
        return reason
    groups = group_names()
    # Groups first: whether a key exists is said by the config that their options compose.
    for override in sorted(parsed_overrides(arguments), key=lambda override: override.key_or_group not in groups):
        if reason := _explain_override(override, config_name, arguments):
            return reason
    return None


def explain_option_as_value(config_name: str, arguments: Sequence[str]) -> str | None:
    """One line on a part within another (`detector.backbone`) that got an option's name as its value; None without one."""
    for override in parsed_overrides(arguments):
        key, groups = str(override.key_or_group), group_names()
        values = override_values(override)
        if "." not in key or key.startswith("hydra.") or len(values) != 1 or not isinstance(values[0], str):
            continue
        having = [group for group in groups if values[0] in option_names(group, arguments)]
        if not having or f"{key}._target_" not in _keys(config_name, arguments):
            continue
        chosen = _choosing(arguments)
        choices = [f"{group if group.replace('/', '.') == key else f'{group}@{key}'}={values[0]}" for group in having]
        if choices := [choice for choice in choices if _composes(config_name, [*chosen, choice])]:
            return f"{key}: expected a part, got the name of an option. Choose it with {' or '.join(choices)}."
    return None


def _explain_override(override: Override, config_name: str, arguments: Sequence[str]) -> str | None:
    name, groups = str(override.key_or_group), group_names()
    if name in groups:
        return (_explain_deletion if override.is_delete() else _explain_choice)(override, config_name, arguments)
    if name.startswith("hydra/"):  # of its own groups Hydra knows more than conf/ has
        is_named = override.is_delete() or all(isinstance(value, str | list) for value in override_values(override))
        return None if is_named else f"{name}: expected the name of an option."
    if override.package is not None or "/" in name:
        return f"{name}: no such group. {_nearest(name, groups)}"
    keys = _keys(config_name, arguments, with_hydra=name.startswith("hydra."))
    if override.is_add():
        return f"{name}: it is there already, write it without the +." if name in keys else None
    if name in keys or override.is_force_add():
        return None
    if "." not in name:
        return f"{name}: no such group or key. {_nearest(name, [*groups, *keys])}"
    if choices := _choices_having(name, config_name, arguments):
        return f"{name}: no such key in this config. It is one with {' or '.join(choices)}."
    if _is_of_trainer(name):
        return (
            f"{name}: an argument of Lightning's Trainer that this config does not set. Add it with a plus: "
            f"+{override.input_line}."
        )
    return f"{name}: no such key in this config. {_nearest_key(name, keys)}"


def _is_of_trainer(key: str) -> bool:
    """Whether a key is an argument of Lightning's Trainer, of which the config sets a few only."""
    group, _, argument = key.partition(".")
    if group != "trainer":
        return False
    from pytorch_lightning import Trainer

    return argument in inspect.signature(Trainer).parameters


def _explain_deletion(override: Override, config_name: str, arguments: Sequence[str]) -> str | None:
    """Why a group cannot be taken out: of a list of options Hydra takes out none, nor what is not there."""
    group = str(override.key_or_group)
    if _composes(config_name, [str(override.input_line)]):
        return None
    if (choice := _usual_choice(group, config_name)) is None:
        return f"{override.input_line}: this config chooses no {group}. Leave it out."
    none = "[]" if isinstance(choice, list) else "none"
    chosen = f" (by default {group}=[{','.join(choice)}])" if isinstance(choice, list) else ""
    return f"{override.input_line}: {group} cannot be taken out. Name the options to keep{chosen}, or none: {group}={none}."


def _explain_choice(override: Override, config_name: str, arguments: Sequence[str]) -> str | None:
    """What is wrong with the options that are chosen of a group that exists."""
    group = str(override.key_or_group)
    there_are = option_names(group, arguments)
    for value in override_values(override):
        if isinstance(value, Mapping):
            continue  # the node itself, in place of an option
        if not isinstance(value, str | list):
            return f"{group}: expected the name of an option. There are: {', '.join(there_are) or 'none'}."
        for option in value if isinstance(value, list) else [value]:
            if str(option) not in there_are:
                return _explain_option(group, str(option), arguments)
    within = group.rpartition("/")[0]  # a group within an option of another is there where that option is chosen
    if not within or override.is_add() or override.is_sweep_override() or _composes(config_name, arguments):
        return None
    choices = [_choice(within, outer, config_name) for outer in option_names(within, arguments)]
    having = [choice for choice in choices if _composes(config_name, [choice, str(override.input_line)])]
    return f"{group}: no such group in this config. It is one with {' or '.join(having)}." if having else None


def _explain_option(group: str, option: str, arguments: Sequence[str]) -> str:
    if group.startswith("hydra/") and option in PLUGINS:
        return f"{group}={option}: its plugin is not installed. Install dlcpose[{PLUGINS[option]}]."
    return f"{group}={option}: no such option. {_nearest(option, option_names(group, arguments))}"


def _group_and_option(file: str) -> tuple[str, str]:
    """Of the path of a config that is missing: its folder is a group, unless that is missing, too."""
    inside = [group for group in group_names() if file.startswith(f"{group}/")]
    group = max(inside, key=len, default=file.rpartition("/")[0])
    return group, file.removeprefix(f"{group}/")


def _nearest(name: str, names: list[str]) -> str:
    if not names:
        return "There are none."
    near = difflib.get_close_matches(name, dict.fromkeys(names), n=3, cutoff=0.5)  # a group is a key, too
    if near:
        return f"Nearest: {', '.join(near)}."
    return (
        f"There are: {', '.join(names)}." if len(names) < MAX_NAMES else "`--help` and `--cfg job` show what there is."
    )


def _nearest_key(name: str, keys: Sequence[str]) -> str:
    """The keys nearest to one that is missing: in its own node by their last names alone, else anywhere."""
    node, _, own = name.rpartition(".")
    settings = [key for key in keys if not any(part.startswith("_") for part in key.split("."))]  # not _target_
    beside = {key.rpartition(".")[2]: key for key in settings if key.rpartition(".")[0] == node}
    if near := difflib.get_close_matches(own, beside, n=3, cutoff=0.7):
        return f"Nearest: {', '.join(beside[each] for each in near)}."
    if beside and len(beside) < MAX_NAMES:
        return f"There are: {', '.join(beside.values())}."
    return _nearest(name, settings)


def _composes(config_name: str, arguments: Sequence[str]) -> bool:
    """Whether a config composes with the groups that the arguments choose."""
    return _composed(config_name, _choosing(arguments), with_hydra=False) is not None


def _keys(config_name: str, arguments: Sequence[str], *, with_hydra: bool = False) -> list[str]:
    """Dotted keys of the config as composed from the groups that the arguments choose, or else from the usual ones."""
    config = _composed(config_name, _choosing(arguments), with_hydra)
    return _dotted_keys(_composed(config_name, [], with_hydra) if config is None else config)


def _choosing(arguments: Sequence[str]) -> list[str]:
    """The overrides that choose options of groups, and the folder that options are also taken from.

    Those of a sweep are left out: there the usual option stands for them.
    """
    groups = group_names()
    return [
        str(override.input_line)
        for override in parsed_overrides(arguments)
        if override.key_or_group in groups or str(override.key_or_group).startswith("hydra/")
        if not override.is_sweep_override()
    ] + [f"hydra.searchpath=[file://{folder}]" for folder in user_config_folders(arguments)]


def _composed(config_name: str, chosen: Sequence[str], with_hydra: bool) -> Any:
    """The config of these choices as plain containers, None where they do not compose."""
    GlobalHydra.instance().clear()
    with checked_loading(chosen), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = hydra.compose(config_name, list(chosen), return_hydra_config=with_hydra)
        except (HydraException, OmegaConfBaseException, DlcposeError, ValueError):  # Hydra raises plain ones, too
            return None
    return OmegaConf.to_container(config)


def _choices_having(key: str, config_name: str, arguments: Sequence[str]) -> list[str]:
    """The choices of a key's group with which the config has that key, as they are written in a command."""
    groups, found = _groups_of(key.split(".")[0]), []
    # A misspelled key is in no file, and to compose the config with every option takes a while.
    if not _is_written(key.rpartition(".")[2], groups, arguments):
        return []
    for group in groups:
        others = [argument for argument in arguments if not argument.startswith(f"{group}=")]
        for option in option_names(group, arguments):
            choice = _choice(group, option, config_name)
            stated, is_all = _stated_keys(group, option, arguments)
            if key in stated or (not is_all and key in _keys(config_name, [*others, choice])):
                found.append(choice)
    return found


def _stated_keys(group: str, option: str, arguments: Sequence[str]) -> tuple[set[str], bool]:
    """Dotted keys that an option's file states, or one that it inherits, and whether they are all that it sets.

    They are not where it chooses options of other groups: these are only known once the config is composed, which takes
    a second for each option.
    """
    files = (folder / group / f"{option}.yaml" for folder in (CONF, *user_config_folders(arguments)))
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return set(), False
    content = read_yaml(file)
    text = file.read_text(encoding="utf-8")
    if not isinstance(content, dict):
        return set(), not content
    header = re.match(r"# @package (\S+)", text)
    package = group.replace("/", ".") if header is None else header[1].replace("_global_", "").replace("_group_", group)
    stated, is_all = set(_dotted_keys({name: content[name] for name in content if name != "defaults"}, package)), True
    for entry in content.get("defaults") or ():
        if not isinstance(entry, str):
            is_all = False
        elif entry != "_self_":
            inherited, inherits_all = _stated_keys(group, entry, arguments)
            stated, is_all = stated | inherited, is_all and inherits_all
    return stated, is_all


def _is_written(name: str, groups: Sequence[str], arguments: Sequence[str]) -> bool:
    """Whether a name stands in a file of options: any of ours, or one of these groups in a folder of the user's."""
    folders = [CONF, *(folder / group for folder in user_config_folders(arguments) for group in groups)]
    return any(name in file.read_text(encoding="utf-8") for folder in folders for file in folder.rglob("*.yaml"))


def _groups_of(node: str) -> list[str]:
    """The groups whose options set a node of the config: that of its name, and those that say `# @package` of it."""
    line = f"# @package {node}\n"
    return [
        group
        for group in group_names()
        if group == node
        or any(path.read_text(encoding="utf-8").startswith(line) for path in (CONF / group).glob("*.yaml"))
    ]


def _choice(group: str, option: str, config_name: str) -> str:
    """An option as it is written in a command: beside what is there already, where a group takes several."""
    usual = _usual_choice(group, config_name)
    return f"{group}=[{','.join([*usual, option])}]" if isinstance(usual, list) else f"{group}={option}"


def _usual_choice(group: str, config_name: str) -> Any:
    """What the defaults list says of a group: an option's name, a list of them, or None."""
    defaults = yaml.safe_load((CONF / f"{config_name}.yaml").read_text(encoding="utf-8"))["defaults"]
    return next((entry[group] for entry in defaults if isinstance(entry, dict) and group in entry), None)


def _dotted_keys(node: Any, prefix: str = "") -> list[str]:
    """The keys of a config and of the nodes and lists within, `optimizer` and `optimizer.lr`."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    inner = [key for name, value in items for key in _dotted_keys(value, f"{prefix}.{name}" if prefix else str(name))]
    return [prefix, *inner] if prefix else inner
