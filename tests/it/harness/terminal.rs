//! A terminal that a command runs in, with a person before it: what is seen there, what is typed, and how large it is.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

use super::replica::program;
use super::stack::Stack;

/// A terminal with a running command. The command is killed when this is dropped.
pub(crate) struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    command: Box<dyn Child + Send + Sync>,
    screen: Arc<Mutex<vt100::Parser>>,
    modes_before: String,
}

fn modes(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios().unwrap())
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

fn size(rows: u16, columns: u16) -> PtySize {
    PtySize {
        rows,
        cols: columns,
        pixel_width: 0,
        pixel_height: 0,
    }
}

impl Terminal {
    /// Runs a command with these variables alone, before so many rows and columns.
    pub(crate) fn run(
        arguments: &[&str],
        environment: &BTreeMap<String, String>,
        rows: u16,
        columns: u16,
    ) -> Self {
        let pair = native_pty_system().openpty(size(rows, columns)).unwrap();
        let mut command = CommandBuilder::new(program());
        command.args(arguments);
        command.env_clear();
        command.env("TERM", "xterm-256color");
        for (name, value) in environment {
            command.env(name, value);
        }
        let modes_before = modes(&*pair.master);
        let command = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let mut output = pair.master.try_clone_reader().unwrap();
        let drawn = Arc::clone(&screen);
        // Ends when the command has: there is nobody left then who could write.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                drawn.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self {
            keys: pair.master.take_writer().unwrap(),
            master: pair.master,
            command,
            screen,
            modes_before,
        }
    }

    /// What is seen now, a line for each row.
    pub(crate) fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until this is seen.
    pub(crate) async fn shows(&self, stack: &Stack, text: &str) {
        let what = format!("the terminal shows \"{text}\"");
        stack
            .until(&what, async || self.text().contains(text).then_some(()))
            .await;
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Makes the window larger or smaller, which the command is told as by any terminal.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let mut screen = self.screen.lock().unwrap();
        screen.screen_mut().set_size(cells(rows), cells(columns));
        drop(screen);
        self.master.resize(size(rows, columns)).unwrap();
    }

    /// How keys are taken, and whether they are echoed: what a program may change for itself and has to put back.
    pub(crate) fn modes(&self) -> String {
        modes(&*self.master)
    }

    /// The same, before the command could change them.
    pub(crate) fn modes_before(&self) -> &str {
        &self.modes_before
    }

    /// Whether the shell's own screen is shown, with its cursor.
    pub(crate) fn is_as_before(&self) -> bool {
        let screen = self.screen.lock().unwrap();
        !screen.screen().alternate_screen() && !screen.screen().hide_cursor()
    }

    /// The id of the command's process.
    pub(crate) fn pid(&self) -> u32 {
        self.command.process_id().unwrap()
    }

    /// Waits until the command has ended.
    pub(crate) async fn exit(&mut self, stack: &Stack) -> ExitStatus {
        stack
            .until("the command ends", async || self.command.try_wait().unwrap())
            .await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}
