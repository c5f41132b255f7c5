//! A Raspberry Pi's own camera, by its system's program `rpicam-still`: one child process a photograph.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{Hints, Intake, IntakeError, Outlet};

/// See the module.
#[derive(Debug)]
pub struct Rpicam {
    /// The program; `rpicam-still` of the path by default.
    pub program: PathBuf,
    /// Given before our own arguments: focus, exposure, light of the set-up.
    pub arguments: Vec<String>,
    /// Where the program writes; on the device's own disk or in memory, never on the card.
    pub folder: PathBuf,
    /// A photograph is taken for each message; what it says goes with the photograph.
    pub shutter: Receiver<Hints>,
    /// Time for one photograph, and for one answer whether a camera is there.
    pub time: Duration,
    /// Between two questions whether a camera is there.
    pub ask_every: Duration,
}

impl Intake for Rpicam {
    fn name(&self) -> &'static str {
        "rpicam"
    }

    fn run(self, outlet: &Outlet) -> Result<(), IntakeError> {
        let mut asked: Option<Instant> = None;
        while !outlet.stopped() {
            if asked.is_none_or(|asked| asked.elapsed() >= self.ask_every) {
                asked = Some(Instant::now());
                if self.is_there() {
                    outlet.alive();
                }
            }
            match self.shutter.recv_timeout(self.ask_every.min(Duration::from_millis(100))) {
                Ok(hints) => self.take(hints, outlet)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }
}

impl Rpicam {
    /// Takes one photograph. One that fails is told in the log and by the status, and may be tried again.
    fn take(&self, hints: Hints, outlet: &Outlet) -> Result<(), IntakeError> {
        let path = self.folder.join(format!("rpicam-{}.jpg", std::process::id()));
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(["--nopreview", "--immediate", "--encoding", "jpg"]);
        command.arg("--output").arg(&path).stdout(Stdio::null());
        let taken = run(command, self.time).and_then(|status| read(&path, status));
        let _ = std::fs::remove_file(&path);
        let bytes = match taken {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%error, "rpicam-still took no photograph");
                return Ok(());
            }
        };
        outlet.alive();
        outlet.offer_when_there_is_room(&bytes, "rpicam", &hints)
    }

    /// Whether the program finds a camera. It ends well without one, too, and says so.
    fn is_there(&self) -> bool {
        let path = self.folder.join(format!("rpicam-{}.txt", std::process::id()));
        let Ok(list) = std::fs::File::create(&path) else { return false };
        let mut command = Command::new(&self.program);
        command.arg("--list-cameras").stdout(list);
        let ended = run(command, self.time);
        let said = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        ended.is_ok_and(|status| status.success()) && said.lines().any(is_camera)
    }
}

/// `0 : imx219 [3280x2464 10-bit RGGB] (/base/...)`
fn is_camera(line: &str) -> bool {
    let number = line.split(':').next().unwrap_or_default().trim();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && line.contains('[')
}

fn read(path: &Path, status: ExitStatus) -> io::Result<Vec<u8>> {
    if !status.success() {
        return Err(io::Error::other(format!("it ended with {status}")));
    }
    std::fs::read(path)
}

/// Runs a program to its end, or kills it when its time is up.
fn run(mut command: Command, time: Duration) -> io::Result<ExitStatus> {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let until = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            return kill(&mut child);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill(child: &mut Child) -> io::Result<ExitStatus> {
    let _ = child.kill();
    child.wait()?;
    Err(io::Error::new(io::ErrorKind::TimedOut, "it did not end in time"))
}
