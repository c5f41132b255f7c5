//! A device in a folder of its own, worked from outside as a health worker does: `kiosk` and `journal`.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use glaucoma_tests::{retina, workspace};

pub const PIN: &str = "222222";

/// A device in a folder of its own.
pub struct Camp {
    folder: tempfile::TempDir,
}

impl Camp {
    /// A journal with one operator.
    pub fn founded() -> Self {
        Self::founded_with("")
    }

    /// The same, with more in the configuration; `{}` is the camp's folder.
    pub fn founded_with(more: &str) -> Self {
        let camp = Self { folder: tempfile::tempdir().unwrap() };
        let at = |name: &str| camp.path(name).display().to_string();
        let more = more.replace("{}", &at(""));
        // The shipped model does not screen at a threshold that nobody has chosen.
        let chosen = if more.contains("operating_point") { "" } else { "threshold = 0.5\n" };
        let config = format!(
            "[camp]\nsites = [\"Huye\"]\n{chosen}[journal]\nfolder = {:?}\ndevice_secret = {:?}\noutput = {:?}\n\
             [intake]\ninbox = {:?}\n{more}",
            at("journal"),
            at("secret"),
            at(""),
            at("inbox")
        );
        std::fs::write(camp.path("config.toml"), config).unwrap();
        let key = camp.journal(&["recovery-key", "--private", &at("private.key")], "");
        let key = text(&key.stdout);
        let recovery_box = at("recovery.box");
        let args = ["found", "--operator", "Asha", "--recovery-key", key.trim()];
        let args = [&args[..], &["--recovery-box", &recovery_box]].concat();
        done(&camp.journal(&args, PIN));
        camp
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn journal(&self, args: &[&str], pin: &str) -> Output {
        let config = self.path("config.toml");
        let args = [&["journal", "--config", config.to_str().unwrap()], args].concat();
        edge_infer(&args, pin)
    }

    /// Plays the script and waits for its end.
    pub fn day(&self, script: &str) -> Output {
        self.start_day(script).wait_with_output().unwrap()
    }

    /// Begins to play the script.
    pub fn start_day(&self, script: &str) -> Child {
        std::fs::write(self.path("day.script"), script).unwrap();
        let (config, screens) = (self.path("config.toml"), self.path("screens"));
        let display = format!("png:{}", screens.display());
        let input = format!("script:{}", self.path("day.script").display());
        let args = ["kiosk", "--config", config.to_str().unwrap()];
        start(&[&args[..], &["--display", &display, "--input", &input]].concat())
    }
}

/// Starts the program with an open standard input.
fn start(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-infer"));
    command.current_dir(workspace()).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs the program with one line of standard input.
pub fn edge_infer(args: &[&str], input: &str) -> Output {
    let mut child = start(args);
    // A program that asks for no PIN may be gone already.
    let _ = writeln!(child.stdin.take().unwrap(), "{input}");
    child.wait_with_output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// From the start to the home screen with [`PIN`], by the buttons.
pub fn unlocking() -> String {
    let down = "button down\n".repeat(3);
    let digits = "button ok\n".repeat(PIN.len());
    let up = "button up\n".repeat(3);
    format!("camera on\nbutton ok\n{down}{digits}{up}button ok\n")
}

/// From the home screen: registers somebody, and gives the two photographs that wait to the right and the left
/// eye; up to the decision that is saved.
pub const EXAMINED: &str = "\
    button ok            # new person\n\
    scan RW-7\n\
    button ok            # next\n\
    touch 445 395        # use for this eye\n\
    button ok            # next\n\
    touch 445 395        # use for this eye\n\
    button ok            # decision\n\
    button ok            # done\n";
/// A day on which one person's left eye and then the right one are examined, and the decision is taken. The
/// photograph that travels along shows a left eye; mirrored, as `right.png`, it stands for a right one.
pub fn one_person(camp: &Camp) {
    let mirrored = image::imageops::flip_horizontal(&image::open(retina()).unwrap());
    mirrored.save(camp.path("right.png")).unwrap();
    let script = format!(
        "{}\
         button ok            # new person\n\
         button ok            # make a number\n\
         button ok            # next\n\
         photograph {}        # asked for is the right eye: the alarm\n\
         button down\n\
         button ok            # it is the left eye\n\
         button ok            # next\n\
         photograph right.png\n\
         button ok            # decision\n\
         button ok            # done\n",
        unlocking(),
        retina().display()
    );
    done(&camp.day(&script));
}
