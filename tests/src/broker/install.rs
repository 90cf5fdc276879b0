//! Which RabbitMQ the tests run on: the machine's own, one in another folder, or one in another Debian.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The server's programs.
#[derive(Clone, Debug)]
pub(super) struct Install {
    /// The folder with `sbin/rabbitmq-server`, as its programs see it.
    home: PathBuf,
    /// The folder that its programs see as `/`; none for those of this machine.
    root: Option<PathBuf>,
}

/// Where packages of Debian put a folder per version.
const PACKAGED: &str = "usr/lib/rabbitmq/lib";

impl Install {
    /// `WARREN_TEST_RABBITMQ_ROOT`, `WARREN_TEST_RABBITMQ_HOME`, or what this machine has.
    pub(super) fn find() -> Result<Self, String> {
        if let Some(root) = std::env::var_os("WARREN_TEST_RABBITMQ_ROOT") {
            let said = PathBuf::from(root);
            let root =
                said.canonicalize().map_err(|error| format!("WARREN_TEST_RABBITMQ_ROOT is {}: {error}", said.display()))?;
            let found = newest(&root.join(PACKAGED)).and_then(|home| Some(Path::new("/").join(home.strip_prefix(&root).ok()?)));
            let none =
                || format!("WARREN_TEST_RABBITMQ_ROOT is {}, which holds no /{PACKAGED}: scripts/install-broker", root.display());
            return Ok(Self { home: found.ok_or_else(none)?, root: Some(root) });
        }
        if let Some(home) = std::env::var_os("WARREN_TEST_RABBITMQ_HOME") {
            let home = PathBuf::from(home);
            return if has_server(&home) {
                Ok(Self { home, root: None })
            } else {
                Err(format!("WARREN_TEST_RABBITMQ_HOME is {}, which holds no sbin/rabbitmq-server", home.display()))
            };
        }
        let brewed = || {
            let kegs = ["/opt/homebrew/opt/rabbitmq", "/usr/local/opt/rabbitmq"].map(PathBuf::from);
            kegs.into_iter().find(|home| has_server(home))
        };
        let home = newest(&Path::new("/").join(PACKAGED)).or_else(brewed).ok_or_else(|| {
            "these tests need a RabbitMQ server and found none: install the package \
             rabbitmq-server, or name its folder in WARREN_TEST_RABBITMQ_HOME"
                .to_owned()
        })?;
        Ok(Self { home, root: None })
    }

    /// Where it is, for people.
    pub(super) fn shown(&self) -> String {
        match &self.root {
            Some(root) => format!("{} in {}", self.home.display(), root.display()),
            None => self.home.display().to_string(),
        }
    }

    /// A script of the server, such as `rabbitmqctl`, to run in `folder`.
    pub(super) fn script(&self, name: &str, folder: &Path) -> Command {
        self.program(self.home.join("sbin").join(name).as_os_str(), folder)
    }

    /// A program beside the server, such as `epmd`, to run in `folder`. It stays one process, so that its number is that of what was
    /// started.
    pub(super) fn program(&self, program: &OsStr, folder: &Path) -> Command {
        let Some(root) = &self.root else {
            let mut command = Command::new(program);
            command.current_dir(folder);
            return command;
        };
        // Erlang looks at /proc. It is mounted for this program alone, and gone with it.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", r#"mount -t proc proc "$0/proc" && exec chroot "$0" env -C "$@""#]);
        command.arg(root).arg(self.seen(folder)).arg(program);
        command
    }

    /// A folder that its programs can write.
    pub(super) fn folder(&self) -> tempfile::TempDir {
        let all = self.root.as_ref().map_or_else(std::env::temp_dir, |root| root.join("tmp"));
        crate::process::folder_in(&all, "rabbitmq")
    }

    /// `path` of this machine as its programs see it.
    pub(super) fn seen(&self, path: &Path) -> PathBuf {
        let inside = self.root.as_ref().and_then(|root| path.strip_prefix(root).ok());
        inside.map_or_else(|| path.to_owned(), |inside| Path::new("/").join(inside))
    }
}

/// The folder of the newest version among those in `packaged`.
fn newest(packaged: &Path) -> Option<PathBuf> {
    let found = std::fs::read_dir(packaged).into_iter().flatten().flatten().map(|entry| entry.path());
    found.filter(|home| has_server(home)).max()
}

fn has_server(home: &Path) -> bool {
    home.join("sbin/rabbitmq-server").is_file()
}
