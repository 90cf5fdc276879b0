use std::process::Command;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use warren_tests::process::Process;
use warren_tests::wait::{until, until_true};

fn alive(pid: i32) -> bool {
    // A process that waits to be collected by init is as good as gone.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(Pid::from_raw(pid), None).is_ok() && !stat.contains(") Z ")
}

#[tokio::test]
async fn a_program_is_heard_and_ended() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo out; echo err >&2; trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done"]);
    let mut process = Process::start("speaker", command);
    until_true(Duration::from_secs(10), "both lines", async || process.stdout() == "out\n" && process.stderr() == "err\n").await;
    let status = process.terminate(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(3));
    assert!(process.tail().contains("bye"));
    assert!(!process.was_killed());
}

#[tokio::test]
async fn servers_end_with_a_test_process_that_is_killed() {
    let mut holder = Process::start("holder", Command::new(env!("CARGO_BIN_EXE_server-holder")));
    let servers = until(Duration::from_secs(120), "both servers", async || {
        assert!(alive(holder.pid() as i32), "the holder ended:\n{}", holder.tail());
        let told = holder.stdout();
        let pids: Vec<i32> = told.lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
        (pids.len() == 2).then_some(pids)
    })
    .await;
    let folders: Vec<_> = servers.iter().map(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap()).collect();
    assert!(servers.iter().all(|pid| alive(*pid)));
    kill(Pid::from_raw(holder.pid() as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    holder.wait(Duration::from_secs(10)).await;
    until_true(Duration::from_secs(20), "both servers to be gone", async || !servers.iter().any(|pid| alive(*pid))).await;
    until_true(Duration::from_secs(20), "their folders to be gone", async || !folders.iter().any(|folder| folder.exists())).await;
}
