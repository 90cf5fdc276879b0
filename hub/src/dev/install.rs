//! Where RabbitMQ and Erlang are on this machine.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::DevError;

/// An installed RabbitMQ, and the Erlang it runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Install {
    /// The folder that holds `sbin/` and `plugins/`.
    pub(super) home: PathBuf,
    pub(super) epmd: PathBuf,
    /// A `PATH` that finds `erl`.
    pub(super) search_path: OsString,
}

/// Folders whose `rabbitmq_server-<version>` children may be one (Debian, Red Hat, hand-made).
const PARENTS: [&str; 3] = ["/usr/lib/rabbitmq/lib", "/usr/local/lib/rabbitmq/lib", "/opt"];
/// Folders that may be one (Homebrew on Apple silicon, on Intel, on Linux; the official image).
const HOMES: [&str; 4] =
    ["/opt/homebrew/opt/rabbitmq", "/usr/local/opt/rabbitmq", "/home/linuxbrew/.linuxbrew/opt/rabbitmq", "/opt/rabbitmq"];

/// The first with at-least-once dead-lettering, which every work queue asks for.
const OLDEST: (u32, u32) = (3, 10);

impl Install {
    pub(super) fn find(named: Option<&Path>, search_path: &OsStr) -> Result<Self, DevError> {
        let home = match named {
            Some(home) if is_rabbitmq(home) => home.to_owned(),
            Some(home) => return Err(DevError::NotARabbitMq { home: home.to_owned() }),
            None => candidates().into_iter().find(|home| is_rabbitmq(home)).ok_or(DevError::NoRabbitMq)?,
        };
        if let Some(version) = version(&home).filter(|version| *version < OLDEST) {
            return Err(DevError::TooOld { home, major: version.0, minor: version.1 });
        }
        let mut folders: Vec<PathBuf> = std::env::split_paths(search_path).filter(|folder| folder.is_absolute()).collect();
        // Homebrew keeps an Erlang for RabbitMQ apart.
        folders.extend(["/opt/homebrew/opt/erlang/bin", "/usr/local/opt/erlang/bin"].map(PathBuf::from));
        let find = |program: &'static str| {
            let found = folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file());
            found.ok_or(DevError::NoErlang { program })
        };
        let erl = find("erl")?;
        // epmd stands beside erl in most installations; in some it is only within Erlang's own folder.
        let epmd = find("epmd").or_else(|error| beside(&erl, "epmd").ok_or(error))?;
        let search_path = std::env::join_paths(folders).unwrap_or_else(|_| search_path.to_owned());
        Ok(Self { home, epmd, search_path })
    }

    pub(super) fn server(&self) -> PathBuf {
        server(&self.home)
    }

    pub(super) fn ctl(&self) -> PathBuf {
        self.home.join("sbin/rabbitmqctl")
    }
}

fn beside(program: &Path, other: &str) -> Option<PathBuf> {
    let path = program.canonicalize().ok()?.with_file_name(other);
    path.is_file().then_some(path)
}

/// The script under the package's own folder: the wrapper in /usr/sbin insists on its own user.
fn server(home: &Path) -> PathBuf {
    home.join("sbin/rabbitmq-server")
}

fn is_rabbitmq(home: &Path) -> bool {
    server(home).is_file()
}

fn candidates() -> Vec<PathBuf> {
    let mut versions: Vec<PathBuf> = PARENTS
        .iter()
        .filter_map(|parent| std::fs::read_dir(parent).ok())
        .flat_map(|entries| entries.flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("rabbitmq_server-"))
        .map(|entry| entry.path())
        .collect();
    versions.sort_by_key(|path| std::cmp::Reverse(numbers(path)));
    versions.into_iter().chain(HOMES.map(PathBuf::from)).collect()
}

/// Major and minor, where the folder's name tells.
fn version(home: &Path) -> Option<(u32, u32)> {
    match numbers(&home.canonicalize().ok()?)[..] {
        [major, minor, ..] => Some((major, minor)),
        _ => None,
    }
}

/// The numbers of the version that a folder's name states, so that 3.13 comes after 3.9; none for any other name.
fn numbers(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Homebrew's folder is called by the version alone.
    let bare = Some(&*name).filter(|name| name.chars().all(|c| c.is_ascii_digit() || c == '.'));
    let version = name.strip_prefix("rabbitmq_server-").or(bare).unwrap_or_default();
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn newer_versions_come_first() {
        assert!(numbers(Path::new("/x/rabbitmq_server-3.13.1")) > numbers(Path::new("/x/rabbitmq_server-3.9.27")));
    }

    #[test]
    fn digits_of_another_name_are_no_version() {
        assert_eq!(numbers(Path::new("/tmp/.tmp0HE5pn")), Vec::<u32>::new());
        assert_eq!(numbers(Path::new("/x/rabbitmq_server-4.0.5")), [4, 0, 5]);
        assert_eq!(numbers(Path::new("/opt/homebrew/Cellar/rabbitmq/4.1.2")), [4, 1, 2]);
    }

    #[test]
    fn a_folder_without_rabbitmq_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Install::find(Some(folder.path()), OsStr::new("/usr/bin")).expect_err("is empty");
        assert!(matches!(&error, DevError::NotARabbitMq { home } if home == folder.path()), "{error}");
    }

    #[test]
    fn a_rabbitmq_that_is_too_old_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("rabbitmq_server-3.9.27");
        std::fs::create_dir_all(home.join("sbin")).unwrap();
        std::fs::write(home.join("sbin/rabbitmq-server"), "").unwrap();
        let error = Install::find(Some(&home), OsStr::new("/usr/bin")).expect_err("3.9").to_string();
        assert!(error.contains("is 3.9, Warren needs 3.10 or later"), "{error}");
    }

    #[test]
    fn missing_erlang_is_said() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sbin")).unwrap();
        std::fs::write(folder.path().join("sbin/rabbitmq-server"), "").unwrap();
        let error = Install::find(Some(folder.path()), folder.path().as_os_str()).expect_err("no erl there").to_string();
        assert!(error.contains("Erlang's `erl` is not on the PATH"), "{error}");
    }
}
