//! Man pages and shell completions, made from the command lines of all programs, so that neither can be out of date.
//!
//! ```text
//! clap::Command of each program → man1/*.1, bash-completion/, zsh/, fish/ below a share directory
//! ```

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

/// Section 1 of the manual: programs.
const MAN: &str = "man/man1";

/// Where each shell looks for completions, below a share directory. Debian's zsh has another place: its package moves it.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions"),
    (Shell::Zsh, "zsh/site-functions"),
    (Shell::Fish, "fish/vendor_completions.d"),
];

/// A file or directory that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}: {source}", path.display())]
pub struct WriteError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The programs that people call.
fn programs() -> [Command; 3] {
    [
        sdg::cli::Cli::command(),
        sdg_agent::cli::Cli::command(),
        sdg_sim::cli::Cli::command(),
    ]
}

/// Writes everything below `share`: a man page of each program and of each verb, completions of each program.
pub fn write(share: &Path) -> Result<(), WriteError> {
    for program in programs() {
        write_man_pages(program.clone(), &share.join(MAN))?;
        for (shell, directory) in COMPLETIONS {
            write_completions(program.clone(), shell, &share.join(directory))?;
        }
    }
    Ok(())
}

fn write_man_pages(program: Command, directory: &Path) -> Result<(), WriteError> {
    make(directory)?;
    clap_mangen::generate_to(program, directory).map_err(failed(directory))
}

fn write_completions(mut program: Command, shell: Shell, directory: &Path) -> Result<(), WriteError> {
    make(directory)?;
    let name = program.get_name().to_owned();
    let path =
        clap_complete::generate_to(shell, &mut program, &name, directory).map_err(failed(directory))?;
    if shell == Shell::Bash {
        name_verbs_alike(&name, &path)?;
    }
    Ok(())
}

/// clap_complete 4.6 writes the hyphen of a program's name in two ways: where a verb is found and where its words are. With
/// two ways no verb of such a program has completions.
fn name_verbs_alike(program: &str, path: &Path) -> Result<(), WriteError> {
    let verbs = |hyphen: &str| format!("{}__subcmd__", program.replace('-', hyphen));
    let text = std::fs::read_to_string(path).map_err(failed(path))?;
    std::fs::write(path, text.replace(&verbs("__subcmd__"), &verbs("__"))).map_err(failed(path))
}

fn make(directory: &Path) -> Result<(), WriteError> {
    std::fs::create_dir_all(directory).map_err(failed(directory))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError { path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    fn files(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn each_verb_has_a_page_and_hidden_ones_have_none() {
        let share = tempfile::tempdir().unwrap();
        write(share.path()).unwrap();
        let pages = files(&share.path().join(MAN));
        for page in ["sdg.1", "sdg-slice-create.1", "sdg-agent-run.1", "sdg-sim-run.1"] {
            assert!(
                pages.iter().any(|there| there == page),
                "{page} is not in {pages:?}"
            );
        }
        // The simulator calls itself by hidden verbs.
        assert!(!pages.iter().any(|page| page == "sdg-sim-launch.1"), "{pages:?}");
        let text = std::fs::read_to_string(share.path().join(MAN).join("sdg-slice-create.1")).unwrap();
        assert!(text.contains(r"\-\-memory\-limit"), "{text}");
    }

    #[test]
    fn each_program_has_completions_for_each_shell() {
        let share = tempfile::tempdir().unwrap();
        write(share.path()).unwrap();
        let names = COMPLETIONS.map(|(_, directory)| files(&share.path().join(directory)));
        assert_eq!(names[0], ["sdg-agent.bash", "sdg-sim.bash", "sdg.bash"]);
        assert_eq!(names[1], ["_sdg", "_sdg-agent", "_sdg-sim"]);
        assert_eq!(names[2], ["sdg-agent.fish", "sdg-sim.fish", "sdg.fish"]);
    }
}
