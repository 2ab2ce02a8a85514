//! `completions`: the completions of a shell, for `cargo-mlflow …` and, where the shell allows it, for
//! `cargo mlflow …`.
//!
//! Of Cargo's own completions, only those of zsh ask other programs for theirs: they call the function
//! `_cargo-mlflow`, which is what `clap_complete` names it. For bash and fish, a few lines are added here.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::arguments::Arguments;
use crate::failure::Failure;

/// Name of the program.
const NAME: &str = "cargo-mlflow";
/// Name for which the completions of bash are generated. `clap_complete` spells the functions of a name with a hyphen
/// in two ways, so that bash would complete no argument of a command.
const BASH_NAME: &str = "cargo_mlflow";

/// Lines that make bash complete `cargo mlflow …` like `cargo-mlflow …`, and all else after `cargo` as before.
const BASH_OF_CARGO: &str = r#"
# `cargo mlflow …` is completed like `cargo-mlflow …`. All else after `cargo` is completed as before.
if ! complete -p cargo &>/dev/null; then
    # bash-completion loads the completions of a command when they are needed first.
    if declare -F _comp_load &>/dev/null; then
        _comp_load cargo
    elif declare -F _completion_loader &>/dev/null; then
        _completion_loader cargo
    fi
fi
if [[ $(complete -p cargo 2>/dev/null) =~ -F\ ([^ ]+) && ${BASH_REMATCH[1]} != _cargo_mlflow_of_cargo ]]; then
    _cargo_mlflow_before=${BASH_REMATCH[1]}
fi
_cargo_mlflow_of_cargo() {
    local at=1
    # A toolchain may come first: `cargo +stable mlflow …`.
    [[ ${COMP_WORDS[1]} == +* ]] && at=2
    if [[ ${COMP_WORDS[at]} == mlflow && $COMP_CWORD -gt $at ]]; then
        COMP_WORDS=(cargo-mlflow "${COMP_WORDS[@]:at + 1}")
        COMP_CWORD=$((COMP_CWORD - at))
        _cargo_mlflow cargo-mlflow "$2" "${COMP_WORDS[COMP_CWORD - 1]}"
    elif [[ -n ${_cargo_mlflow_before-} ]]; then
        "$_cargo_mlflow_before" "$@"
    fi
}
complete -F _cargo_mlflow_of_cargo -o bashdefault -o default cargo
"#;

/// Lines that make fish complete `cargo mlflow …` like `cargo-mlflow …`.
const FISH_OF_CARGO: &str = r#"
# `cargo mlflow …` is completed like `cargo-mlflow …`.
function __cargo_mlflow_before
    set -l before (commandline -opc)
    # A toolchain may come first: `cargo +stable mlflow …`.
    string match -q -- '+*' $before[2]; and set -e before[2]
    printf '%s\n' $before
end
function __cargo_mlflow_of_cargo
    set -l before (__cargo_mlflow_before)
    complete -C (string join -- ' ' cargo-mlflow (string escape -- $before[3..]) (commandline -ct))
end
function __cargo_mlflow_is_chosen
    set -l before (__cargo_mlflow_before)
    test (count $before) -ge 2; and test "$before[2]" = mlflow
end
complete -c cargo -n __cargo_mlflow_is_chosen -f -a '(__cargo_mlflow_of_cargo)'
"#;

/// Prints the completions.
pub(crate) fn run(shell: Shell) -> Result<(), Failure> {
    let name = if shell == Shell::Bash {
        BASH_NAME
    } else {
        NAME
    };
    // A name with a blank, as in the help, would break the names of the functions.
    let mut command = Arguments::command().name(name).bin_name(name);
    // `generate` panics if it cannot write, so the text is written afterwards.
    let mut text = Vec::new();
    generate(shell, &mut command, name, &mut text);
    match shell {
        Shell::Bash => {
            let generated = String::from_utf8_lossy(&text);
            let [registered, meant] = [BASH_NAME, NAME].map(|name| format!(" default {name}\n"));
            text = generated.replace(&registered, &meant).into_bytes();
            text.extend_from_slice(BASH_OF_CARGO.as_bytes());
        }
        Shell::Fish => text.extend_from_slice(FISH_OF_CARGO.as_bytes()),
        _ => {}
    }
    io::stdout().write_all(&text)?;
    Ok(())
}
